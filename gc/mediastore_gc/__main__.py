"""`python -m mediastore_gc`."""

from mediastore_gc.cli import main

main()
