"""Measurements behind the design's numbers; each writes its own section of docs/performance.md."""
