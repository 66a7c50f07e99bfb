"""Bytes to chunks, chunks to names, names to manifests. Pure: no I/O, no settings, no clock."""
