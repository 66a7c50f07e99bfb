"""What a client may write into an object, and what it may ask of a listing: parsed, bounded."""

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiohttp import web
from multidict import MultiMapping

from mediastore.errors import (
    BadMetadata,
    BadRequest,
    NotFound,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
)
from mediastore.objects.cursor import read_cursor
from mediastore.settings import HttpSettings

NAME_LENGTH_MAX = 1024
OWNER_LENGTH_MAX = 256
METADATA_NESTING_MAX = 32  # far below what JSON parsers and Postgres take
PAGE_SIZE_DEFAULT = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|[\ud800-\udfff]")
_LIST_PARAMETERS = frozenset({"owner", "trash", "limit", "cursor"})


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """What a PATCH replaces; None leaves a field as it is."""

    name: str | None
    owner: str | None
    metadata: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing shows; `before` is the id that the page before ended with."""

    owner: str | None
    trash: bool
    limit: int
    before: UUID | None


def parse_object_id(text: str) -> UUID:
    """Raises NotFound: an id that cannot be is one that is not there."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound from None


async def read_change(
    request: web.Request, http: HttpSettings, *, metadata_max_bytes: int
) -> ObjectChange:
    """The body of a PATCH. Raises UnsupportedMediaType, BadMetadata, what read_json_object does."""
    if request.content_type not in ("application/json", "application/merge-patch+json"):
        raise UnsupportedMediaType("send application/json")
    document = await read_json_object(request, http)
    unknown = document.keys() - {"name", "owner", "metadata"}
    if unknown:
        raise BadRequest(f"only name, owner and metadata can be changed, not {min(unknown)!r}")
    return ObjectChange(
        checked_text("name", document["name"], NAME_LENGTH_MAX) if "name" in document else None,
        checked_text("owner", document["owner"], OWNER_LENGTH_MAX) if "owner" in document else None,
        checked_metadata(document["metadata"], metadata_max_bytes)
        if "metadata" in document
        else None,
    )


async def read_json_object(request: web.Request, http: HttpSettings) -> dict[str, Any]:
    """A body that is one JSON object. It is small: all of it comes within the time that any body
    may be silent. Raises TooLarge, BadRequest, RequestTimeout.
    """
    try:
        async with asyncio.timeout(http.body_idle_timeout_seconds):
            body = await _read_body(request, http.json_body_max_bytes)
    except TimeoutError:
        raise RequestTimeout("the JSON came too slowly") from None
    return _json_object(body)


def checked_text(field: str, value: object, length_max: int) -> str:
    """A name or an owner: text without control characters. Raises BadRequest."""
    if not isinstance(value, str) or len(value) > length_max or _CONTROL.search(value):
        raise BadRequest(f"{field} must be text of at most {length_max} printable characters")
    return value


def checked_metadata(value: object, max_bytes: int) -> dict[str, Any]:
    """A JSON object of bounded size that Postgres can keep. Raises BadMetadata."""
    if not isinstance(value, dict):
        raise BadMetadata("metadata must be a JSON object")
    if _nests_deeper(value, METADATA_NESTING_MAX):
        raise BadMetadata(f"metadata must not be nested deeper than {METADATA_NESTING_MAX} levels")
    try:
        packed = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise BadMetadata("metadata must not hold infinite numbers or NaN") from None
    if "\\u0000" in packed or _CONTROL.search(packed):
        raise BadMetadata("metadata must not hold NUL or half of a surrogate pair")
    if len(packed.encode()) > max_bytes:
        raise BadMetadata(f"metadata must be at most {max_bytes} bytes of JSON")
    return value


def _nests_deeper(value: object, levels: int) -> bool:
    """Level by level, without recursion: what is too deep to be walked is what this looks for."""
    layer = [value]
    for _ in range(levels):
        layer = [child for item in layer for child in _children(item)]
        if not layer:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def read_listing(query: MultiMapping[str], *, tenant: str, page_size_max: int) -> Listing:
    """The query of a listing. Raises BadRequest, BadCursor."""
    for name in query:
        if name not in _LIST_PARAMETERS:
            raise BadRequest(f"a listing takes owner, trash, limit and cursor, not {name!r}")
    owner = query.get("owner")
    if owner is not None:
        checked_text("owner", owner, OWNER_LENGTH_MAX)
    trash = {"true": True, "false": False}.get(query.get("trash", "false"))
    if trash is None:
        raise BadRequest("trash must be true or false")
    cursor = query.get("cursor")
    before = (
        None if cursor is None else read_cursor(cursor, tenant=tenant, owner=owner, trash=trash)
    )
    return Listing(owner, trash, _limit(query.get("limit"), page_size_max), before)


def _limit(text: str | None, page_size_max: int) -> int:
    if text is None:
        return min(PAGE_SIZE_DEFAULT, page_size_max)
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise BadRequest(f"limit must be a number from 1 to {page_size_max}")
    limit = int(text)
    if not 1 <= limit <= page_size_max:
        raise BadRequest(f"limit must be a number from 1 to {page_size_max}")
    return limit


async def _read_body(request: web.Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > max_bytes:
            raise TooLarge(f"a JSON body must be at most {max_bytes} bytes")
    return bytes(body)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(document, dict):
        raise BadRequest("the body must be a JSON object")
    return document
