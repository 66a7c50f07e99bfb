"""Request headers of tus: read strictly, and refused before any of the body is read."""

from uuid import UUID

from aiohttp import web

from mediastore.errors import BadLength, TooLarge, UnsupportedMediaType
from mediastore.objects.fields import parse_object_id
from mediastore.uploads.tus.protocol import OFFSET_TYPE

_NUMBER_DIGITS_MAX = 18  # fits a bigint


def upload_id(request: web.Request) -> UUID:
    return parse_object_id(request.match_info["id"])


def created_length(request: web.Request, *, size_max_bytes: int) -> int | None:
    """Extensions: Creation, Upload-Length or Upload-Defer-Length; None for a deferred one."""
    deferred = request.headers.get("Upload-Defer-Length")
    if deferred is None:
        return _length(request, size_max_bytes)
    if deferred != "1" or "Upload-Length" in request.headers:
        raise BadLength("send Upload-Length, or Upload-Defer-Length: 1, not both")
    return None


def later_length(request: web.Request, *, size_max_bytes: int) -> int | None:
    """The Upload-Length of a PATCH: a deferred length, or the known one again. None without."""
    return _length(request, size_max_bytes) if "Upload-Length" in request.headers else None


def number(request: web.Request, header: str) -> int:
    """Headers: a non-negative integer, in digits alone."""
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= _NUMBER_DIGITS_MAX):
        raise BadLength(f"{header} must be a non-negative integer")
    return int(text)


def check_type(request: web.Request) -> None:
    """Requests: PATCH, Content-Type."""
    if request.headers.get("Content-Type") != OFFSET_TYPE:
        raise UnsupportedMediaType(f"an upload's bytes need Content-Type: {OFFSET_TYPE}")


def check_size(request: web.Request, *, offset: int, length: int | None) -> None:
    """Refuse a body that would go past the length before any of it is read."""
    coming = request.content_length
    if coming is not None and length is not None and offset + coming > length:
        raise TooLarge(f"{coming} bytes at {offset} go past the upload's length of {length}")


def _length(request: web.Request, size_max_bytes: int) -> int:
    length = number(request, "Upload-Length")
    if length > size_max_bytes:
        raise TooLarge(f"an upload may have at most {size_max_bytes} bytes")
    return length
