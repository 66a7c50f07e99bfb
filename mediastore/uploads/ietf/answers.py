"""What every answer of this protocol has: where the upload stands, in the words of the request's
dialect; and its errors.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from uuid import UUID

from aiohttp import web

from mediastore.app_keys import CATALOG, CLOCK, SETTINGS
from mediastore.catalog.digests import find_blob_digests
from mediastore.catalog.objects import Object
from mediastore.content.digests import format_digests
from mediastore.errors import MediastoreError, TooLarge
from mediastore.ietf_errors import AppendTooSmall, StillFinishing
from mediastore.objects.document import object_document
from mediastore.problems import answer_error
from mediastore.public_urls import public_base
from mediastore.uploads.ietf.dialects import NEWEST, Dialect
from mediastore.uploads.ietf.fields import Asked, read_fields
from mediastore.uploads.ietf.limits import Limits
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.service import CONTENT_REFUSED
from mediastore.uploads.standing import Standing
from mediastore.uploads.told_policy import told_policy

_LIMITS = web.RequestKey("upload_limits", Limits)
NO_STORE = {"Cache-Control": "no-store"}
Handler = Callable[[web.Request, Asked], Awaitable[web.Response]]


def in_dialect(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Read what the request says in this protocol, and let errors say it too."""

    @wraps(handler)
    async def speaking(request: web.Request) -> web.StreamResponse:
        dialect = NEWEST
        try:
            asked = read_fields(request.headers, content_length=_content_length(request))
            dialect = asked.dialect
            return await handler(request, asked)
        except MediastoreError as error:
            answer = answer_error(request, error)
            answer.headers.update(_error_headers(request, dialect, error))
            return answer

    return speaking


def standing_headers(request: web.Request, dialect: Dialect, standing: Standing) -> dict[str, str]:
    """Where an upload stands, for HEAD and for answers that are no final responses."""
    complete = standing.object is not None
    headers = {
        **NO_STORE,
        "Upload-Offset": str(standing.offset),
        dialect.completeness: dialect.flag(complete=complete),
    }
    if standing.length is not None:
        headers["Upload-Length"] = str(standing.length)
    return headers | limit_header(request, dialect, standing)


async def limits_for(request: web.Request, tenant: str) -> Limits:
    """What holds for this tenant; every answer to this request tells it from now on."""
    policy = await request.app[UPLOADS].parts.admission.policy(tenant)
    request[_LIMITS] = limits = Limits.of(request.app[SETTINGS].uploads, policy)
    return limits


async def told_limits(request: web.Request) -> dict[str, str]:
    """Section Limits, OPTIONS: Upload-Limit for who asks, as the newest version has it."""
    request[_LIMITS] = Limits.of(request.app[SETTINGS].uploads, await told_policy(request))
    return limit_header(request, NEWEST)


def limit_header(
    request: web.Request, dialect: Dialect, standing: Standing | None = None
) -> dict[str, str]:
    """Upload-Limit, of an upload or of one that could be created; nothing before version 6."""
    limits = request.get(_LIMITS) or Limits.of(request.app[SETTINGS].uploads)
    lifetime_seconds: float = limits.lifetime_seconds
    if standing is not None:
        expires_at = None if standing.upload is None else standing.upload.expires_at
        now = request.app[CLOCK].now()
        lifetime_seconds = 0 if expires_at is None else (expires_at - now).total_seconds()
    told = limits.field(dialect, lifetime_seconds)
    return {} if told is None else {"Upload-Limit": told}


async def final_response(
    request: web.Request, dialect: Dialect, standing: Standing, wanted: Sequence[str]
) -> web.Response:
    """The target's own answer to the whole content: the object, and of the digests that the client
    wants the first one that is known. Raises StillFinishing.
    """
    made = standing.object
    if made is None:
        raise StillFinishing
    document = object_document(made, public_url=public_base(request))
    headers = {"Location": document["links"]["self"], **NO_STORE}
    headers |= {dialect.completeness: dialect.flag(complete=True)}
    if dialect.final_tells_offset:
        headers |= _as_of_old(request, made, headers["Location"])
    if wanted:
        headers |= await _repr_digest(request, made, wanted)
    return web.json_response(document, status=201, headers=headers)


def upload_url(request: web.Request, id_: UUID) -> str:
    """The URL of an upload resource, as Location names it."""
    return f"{public_base(request)}/v1/uploads/{id_}"


async def _repr_digest(request: web.Request, made: Object, wanted: Sequence[str]) -> dict[str, str]:
    known = await find_blob_digests(request.app[CATALOG], made.blob)
    first = next((algorithm for algorithm in wanted if algorithm in known), None)
    return {} if first is None else {"Repr-Digest": format_digests({first: known[first]})}


def _as_of_old(request: web.Request, made: Object, location: str) -> dict[str, str]:
    """Up to version 6 a final response belongs to the upload and names its object beside it."""
    return {
        "Upload-Offset": str(made.size),
        "Location": upload_url(request, made.id),
        "Content-Location": location,
    }


def _error_headers(
    request: web.Request, dialect: Dialect, error: MediastoreError
) -> dict[str, str]:
    # Content that is not what it was said to be: no resumption would help.
    refused = isinstance(error, CONTENT_REFUSED)
    headers = {dialect.completeness: dialect.flag(complete=refused)}
    if "offset" in error.members:
        headers["Upload-Offset"] = str(error.members["offset"])
    if isinstance(error, TooLarge | AppendTooSmall):
        headers |= limit_header(request, dialect)
    return headers


def _content_length(request: web.Request) -> int | None:
    """Bytes of the request's content; None when only its end tells."""
    return request.content_length if request.can_read_body else 0
