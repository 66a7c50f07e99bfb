"""Request headers of tus: read strictly, and refused before any of the body is read."""

from uuid import UUID

from aiohttp import web

from mediastore.errors import BadLength, BadRequest, TooLarge, UnsupportedMediaType
from mediastore.objects.fields import parse_object_id
from mediastore.uploads.tus.protocol import OFFSET_TYPE

_NUMBER_DIGITS_MAX = 18  # fits a bigint


def upload_id(request: web.Request) -> UUID:
    return parse_object_id(request.match_info["id"])


def declared_length(request: web.Request, size_max_bytes: int) -> int:
    if "Upload-Defer-Length" in request.headers:
        raise BadRequest("this server does not take Upload-Defer-Length; send Upload-Length")
    length = number(request, "Upload-Length")
    if length > size_max_bytes:
        raise TooLarge(f"an upload may have at most {size_max_bytes} bytes")
    return length


def number(request: web.Request, header: str) -> int:
    """Headers: a non-negative integer, in digits alone."""
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= _NUMBER_DIGITS_MAX):
        raise BadLength(f"{header} must be a non-negative integer")
    return int(text)


def check_body(request: web.Request, *, offset: int, length: int | None) -> None:
    """Refuse a body that would go past the length before any of it is read."""
    if request.method == "POST" and request.headers.get("Content-Type") != OFFSET_TYPE:
        raise UnsupportedMediaType(f"a creation with a body needs Content-Type: {OFFSET_TYPE}")
    coming = request.content_length
    if coming is not None and length is not None and offset + coming > length:
        raise TooLarge(f"{coming} bytes at {offset} go past the upload's length of {length}")
