"""tus 1.0.0 at /v1/uploads: core, creation, creation-with-upload, expiration, termination.

https://tus.io/protocols/resumable-upload, section numbers below are that page's headings. HEAD and
PATCH take the upload over (INV-8): the newest request of a client is the one that counts, nobody
waits for a lock.
"""

from collections.abc import Awaitable, Callable
from email.utils import format_datetime
from functools import wraps
from uuid import UUID

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, SETTINGS
from mediastore.errors import (
    BadLength,
    BadRequest,
    MediastoreError,
    OffsetMismatch,
    TooLarge,
    UnsupportedMediaType,
    UnsupportedTusVersion,
)
from mediastore.objects.fields import parse_object_id
from mediastore.problems import problem_response
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.metadata import from_tus
from mediastore.uploads.service import Standing

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,termination"
OFFSET_TYPE = "application/offset+octet-stream"
_NUMBER_DIGITS_MAX = 18  # fits a bigint
Handler = Callable[[web.Request], Awaitable[web.Response]]


def speaks_tus(handler: Handler) -> Handler:
    """Refuse other versions (Headers: Tus-Resumable) and mark every answer, errors included."""

    @wraps(handler)
    async def marked(request: web.Request) -> web.Response:
        try:
            if request.headers.get("Tus-Resumable") != VERSION:
                raise UnsupportedTusVersion
            response = await handler(request)
        except MediastoreError as error:
            response = problem_response(error)
            if isinstance(error, UnsupportedTusVersion):
                response.headers["Tus-Version"] = VERSION
            if "offset" in error.members:
                response.headers["Upload-Offset"] = str(error.members["offset"])
        response.headers["Tus-Resumable"] = VERSION
        response.headers["Cache-Control"] = "no-store"
        return response

    return marked


async def options(request: web.Request) -> web.Response:
    """Requests: OPTIONS. What this server can; no key needed."""
    return web.Response(
        status=204,
        headers={
            "Tus-Resumable": VERSION,
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(request.app[SETTINGS].uploads.size_max_bytes),
        },
    )


@speaks_tus
async def create(request: web.Request) -> web.Response:
    """Extensions: Creation, Creation With Upload."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    settings = request.app[SETTINGS]
    length = _declared_length(request, settings.uploads.size_max_bytes)
    says = from_tus(
        request.headers.get("Upload-Metadata"),
        metadata_max_bytes=settings.uploads.metadata_max_bytes,
    )
    uploads = request.app[UPLOADS]
    if request.can_read_body:
        _check_body(request, offset=0, length=length)
    draft = await uploads.admit(says.draft(tenant.id, "tus", length=length), client=request.remote)
    if request.can_read_body:
        standing = await uploads.receive_new(draft, request.content, ends_with_body=False)
    else:
        standing = await uploads.begin(draft)
    base = (settings.http.public_url or "").rstrip("/")
    headers = {"Location": f"{base}/v1/uploads/{draft.id}", **_offset_headers(standing)}
    return web.Response(status=201, headers=headers)


@speaks_tus
async def head(request: web.Request) -> web.Response:
    """Requests: HEAD. Also the answer to 'did my last request arrive?': from the object, once
    finished.
    """
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    standing = await request.app[UPLOADS].take(tenant.id, _id(request))
    headers = _offset_headers(standing)
    if standing.length is not None:
        headers["Upload-Length"] = str(standing.length)
    return web.Response(status=200, headers=headers)


@speaks_tus
async def patch(request: web.Request) -> web.Response:
    """Requests: PATCH. A request at a wrong offset is refused without taking anything."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    if request.headers.get("Content-Type") != OFFSET_TYPE:
        raise UnsupportedMediaType(f"PATCH needs Content-Type: {OFFSET_TYPE}")
    offset = _number(request, "Upload-Offset")
    uploads = request.app[UPLOADS]
    standing = await uploads.take(tenant.id, _id(request), expected_offset=offset)
    if standing.upload is None or standing.object is not None or standing.upload.state != "open":
        _check_repeated_end(request, offset, standing)
    elif request.can_read_body:
        _check_body(request, offset=offset, length=standing.length)
        standing = await uploads.append(standing.upload, request.content)
    return web.Response(status=204, headers=_offset_headers(standing))


@speaks_tus
async def delete(request: web.Request) -> web.Response:
    """Extensions: Termination."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    await request.app[UPLOADS].terminate(tenant.id, _id(request))
    return web.Response(status=204)


def _id(request: web.Request) -> UUID:
    return parse_object_id(request.match_info["id"])


def _declared_length(request: web.Request, size_max_bytes: int) -> int:
    if "Upload-Defer-Length" in request.headers:
        raise BadRequest("this server does not take Upload-Defer-Length; send Upload-Length")
    length = _number(request, "Upload-Length")
    if length > size_max_bytes:
        raise TooLarge(f"an upload may have at most {size_max_bytes} bytes")
    return length


def _number(request: web.Request, header: str) -> int:
    """Headers: a non-negative integer, in digits alone."""
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= _NUMBER_DIGITS_MAX):
        raise BadLength(f"{header} must be a non-negative integer")
    return int(text)


def _check_body(request: web.Request, *, offset: int, length: int | None) -> None:
    """Refuse a body that would go past the length before any of it is read."""
    if request.method == "POST" and request.headers.get("Content-Type") != OFFSET_TYPE:
        raise UnsupportedMediaType(f"a creation with a body needs Content-Type: {OFFSET_TYPE}")
    coming = request.content_length
    if coming is not None and length is not None and offset + coming > length:
        raise TooLarge(f"{coming} bytes at {offset} go past the upload's length of {length}")


def _check_repeated_end(request: web.Request, offset: int, standing: Standing) -> None:
    """A finished upload takes its last request again if that brings nothing new."""
    if offset != standing.offset:
        raise OffsetMismatch(offset=standing.offset)
    if request.can_read_body and request.content_length != 0:
        raise TooLarge("the upload is whole; there is nothing more to send")


def _offset_headers(standing: Standing) -> dict[str, str]:
    headers = {"Upload-Offset": str(standing.offset)}
    upload = standing.upload
    if upload is not None and standing.object is None and upload.state == "open":
        headers["Upload-Expires"] = format_datetime(upload.expires_at, usegmt=True)
    return headers
