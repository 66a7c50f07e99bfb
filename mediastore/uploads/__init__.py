"""Uploads: the session, a state machine over catalog and chunk store, and its front ends."""
