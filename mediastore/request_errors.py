"""Errors of forms and of pulls at POST /v1/objects. They belong to the table in errors.py."""

from mediastore.errors import BadRequest, MediastoreError


class BadForm(BadRequest):
    """The body is not valid multipart/form-data."""

    code = "bad_form"


class SourceRefused(BadRequest):
    """This service does not fetch from that source."""

    code = "source_refused"
    status = 403


class SourceFailed(MediastoreError):
    """The source did not send its content whole; `reason` says how it failed."""

    code = "source_failed"
    status = 502
    exit_code = 10
