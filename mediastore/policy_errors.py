"""What a tenant's policy and its app refuse. These errors belong to the table in errors.py."""

from mediastore.errors import BadRequest, Unavailable


class TypeNotAllowed(BadRequest):
    """The tenant does not take objects of this content type."""

    code = "type_not_allowed"
    status = 415


class TypeMismatch(BadRequest):
    """The content is not of the type that was declared; nothing of it was kept."""

    code = "type_mismatch"
    status = 422


class DeniedByApp(BadRequest):
    """The app does not want this upload."""

    code = "denied_by_app"
    status = 403


class HookUnavailable(Unavailable):
    """The app, which is asked before anything is created, does not answer as it should."""

    code = "hook_unavailable"
