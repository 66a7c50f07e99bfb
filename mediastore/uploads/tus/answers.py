"""What answers say of an upload."""

from email.utils import format_datetime
from uuid import UUID

from aiohttp import web

from mediastore.app_keys import SETTINGS
from mediastore.uploads.service import Standing


def location(request: web.Request, upload: UUID) -> str:
    """An upload's URL."""
    base = (request.app[SETTINGS].http.public_url or "").rstrip("/")
    return f"{base}/v1/uploads/{upload}"


def offset_headers(standing: Standing) -> dict[str, str]:
    headers = {"Upload-Offset": str(standing.offset)}
    if standing.upload is not None and standing.object is None:
        headers["Upload-Expires"] = format_datetime(standing.upload.expires_at, usegmt=True)
    return headers
