"""The verbs of `mediastore-gc`, one module a group; cli.py puts them together."""
