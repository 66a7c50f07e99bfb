"""Uploads: the session (a state machine over the catalog and the chunk store) and its front ends."""
