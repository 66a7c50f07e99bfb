"""What serving media refuses. These errors belong to the table in errors.py."""

from mediastore.errors import MediastoreError


class LinksNotConfigured(MediastoreError):
    """This service has no key to sign links with; set links.keys."""

    code = "links_not_configured"
    status = 501
    exit_code = 2


class WorkerLost(MediastoreError):
    """A worker process ended, or said nothing, before it served; the log has more."""

    code = "worker_lost"
