"""mediastore: a content-addressed media storage service."""

__version__ = "0.1.0"
