"""An object as JSON."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

from mediastore.catalog.objects import Object
from mediastore.catalog.pictures import Pictured

UNNAMED = "file"


def object_document(
    item: Object, *, public_url: str, keep_captured: bool = False
) -> dict[str, Any]:
    """What clients get: links under `public_url`, size in bytes, times as in RFC 3339.
    `keep_captured`: the tenant is to see when its pictures were taken.
    """
    blob = item.blob.hex()
    return {
        "id": str(item.id),
        "name": item.name,
        "owner": item.owner,
        "content_type": item.content_type,
        "size": item.size,
        "blob": blob,
        "metadata": item.metadata,
        "picture": _picture(item.picture, keep_captured=keep_captured),
        "created_at": _time(item.created_at),
        "deleted_at": _time(item.deleted_at),
        "purge_at": _time(item.purge_at),
        "links": {
            "self": f"{public_url}/v1/objects/{item.id}",
            "content": f"{public_url}/v1/objects/{item.id}/content",
            "media": f"{public_url}/media/{item.tenant}/{blob}/{url_filename(item.name)}",
        },
    }


def _picture(known: Pictured, *, keep_captured: bool) -> dict[str, Any] | None:
    """None: it is no picture, or nobody has looked yet."""
    if known.probe is not None:
        shown = {"state": "done"} | known.probe
        if not keep_captured:
            del shown["captured_at"]
        return shown
    return None if known.failed is None else {"state": "failed", "code": known.failed}


def url_filename(name: str) -> str:
    """`last_part` of `name` as one URL segment."""
    return quote(last_part(name), safe="")


def last_part(name: str) -> str:
    """The last part of `name`; never empty, and nothing that a proxy takes for a directory."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return UNNAMED if last in ("", ".", "..") else last


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
