"""`POST /v1/objects/{id}/links`: a signed link to an object's content, for those without a key."""

import json
from datetime import UTC, datetime

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, CATALOG, SETTINGS
from mediastore.catalog.objects import get_object
from mediastore.delivery.keys import GRANTING
from mediastore.errors import BadRequest, Conflict, NotFound
from mediastore.links import media_path
from mediastore.objects.document import last_part
from mediastore.objects.fields import (
    NAME_LENGTH_MAX,
    checked_text,
    parse_object_id,
    read_json_object,
)
from mediastore.public_urls import public_base

TRANSFORM_LENGTH_MAX = 512
_MEMBERS = ("expires_seconds", "filename", "transform")


async def make_link(request: web.Request) -> web.Response:
    """A link to a live object's blob, or to a variant of it, with any file name."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    id_ = parse_object_id(request.match_info["id"])
    asked = await _read(request)
    item = await get_object(request.app[CATALOG], tenant.id, id_)
    if item is None:
        raise NotFound
    if item.deleted_at is not None:
        raise Conflict("the object is in the trash; restore it first")
    filename = last_part(
        checked_text("filename", asked.get("filename", item.name), NAME_LENGTH_MAX)
    )
    between = [_transform(asked["transform"])] if "transform" in asked else []
    path = media_path(tenant.id, item.blob.hex(), *between, filename)
    link, expires = request.app[GRANTING].links.make(tenant.id, path, _seconds(asked))
    document = {
        "url": public_base(request) + link,
        "expires_at": datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z"),
    }
    return web.Response(
        status=201,
        body=json.dumps(document).encode(),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


async def _read(request: web.Request) -> dict[str, object]:
    """The body: a JSON object, or nothing. Raises BadRequest, what read_json_object does."""
    if not request.can_read_body:
        return {}
    document = await read_json_object(request, request.app[SETTINGS].http)
    unknown = document.keys() - set(_MEMBERS)
    if unknown:
        raise BadRequest(f"a link takes {', '.join(_MEMBERS)}, not {min(unknown)!r}")
    return document


def _seconds(asked: dict[str, object]) -> int | None:
    seconds = asked.get("expires_seconds")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise BadRequest("expires_seconds must be a whole number")
    return seconds


def _transform(value: object) -> str:
    """One segment; what it may say is told when it is asked for."""
    text = checked_text("transform", value, TRANSFORM_LENGTH_MAX)
    if not text or "/" in text:
        raise BadRequest("transform must be one segment of a path")
    return text
