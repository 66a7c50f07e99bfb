"""Where chunks live: one protocol, its drivers and its wrappers."""
