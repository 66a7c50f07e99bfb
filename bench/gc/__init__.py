"""What collection costs, and what it costs others: `python -m bench.gc`."""
