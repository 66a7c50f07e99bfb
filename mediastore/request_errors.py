"""Errors of what is not HTTP, of forms and of pulls. They belong to the table in errors.py."""

from mediastore.errors import BadRequest, MediastoreError


class MalformedRequest(BadRequest):
    """What came is not an HTTP request."""

    code = "malformed_request"


class HeaderTooLarge(BadRequest):
    """The request's line or one of its headers is longer than this service reads."""

    code = "header_too_large"
    status = 431


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
