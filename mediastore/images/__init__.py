"""Pictures made of blobs: what is asked for, how it is drawn, by whom, and where it is kept."""
