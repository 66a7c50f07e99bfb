"""What answers say of an upload."""

from email.utils import format_datetime
from uuid import UUID

from aiohttp import web

from mediastore.public_urls import public_base
from mediastore.uploads.metadata import to_tus
from mediastore.uploads.standing import Standing


def location(request: web.Request, upload: UUID) -> str:
    """An upload's URL."""
    return f"{public_base(request)}/v1/uploads/{upload}"


def offset_headers(standing: Standing) -> dict[str, str]:
    headers = {"Upload-Offset": str(standing.offset)}
    upload = standing.upload
    if upload is not None and standing.object is None and upload.state == "open":
        headers["Upload-Expires"] = format_datetime(upload.expires_at, usegmt=True)
    return headers


def standing_headers(standing: Standing) -> dict[str, str]:
    """Everything that HEAD says: length or that it is deferred, and the metadata as it was sent;
    once finished, as the object has it.
    """
    headers = offset_headers(standing)
    if standing.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(standing.length)
    metadata = _metadata(standing)
    if metadata:
        headers["Upload-Metadata"] = metadata
    return headers


def _metadata(standing: Standing) -> str | None:
    if standing.object is not None:
        return to_tus(standing.object)
    return None if standing.upload is None else standing.upload.tus_metadata
