"""Uploads a second and CPU an upload, against tusd on the same store: `python -m bench.uploads`."""
