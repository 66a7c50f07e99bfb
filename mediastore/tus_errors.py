"""What only tus clients are told, whose statuses decide whether they go on: part of the table in
mediastore/errors.py.

tus-js-client takes every 4xx but 409 and 423 for final, and tries again after a 5xx.
"""

from mediastore.errors import Conflict, TooManyRequests


class BodyTooSlow(Conflict):
    """The body came too slowly and was cut; ask for the offset with HEAD and resume there."""

    code = "body_too_slow"


class TenantBusy(TooManyRequests):
    """Too many requests of this tenant are in progress; the upload can go on in a moment."""

    code = "tenant_busy"
    status = 503
