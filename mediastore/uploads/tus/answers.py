"""What answers say of an upload."""

from email.utils import format_datetime

from mediastore.uploads.service import Standing


def offset_headers(standing: Standing) -> dict[str, str]:
    headers = {"Upload-Offset": str(standing.offset)}
    if standing.upload is not None and standing.object is None:
        headers["Upload-Expires"] = format_datetime(standing.upload.expires_at, usegmt=True)
    return headers
