"""Looking at an upload without taking it: `HEAD /v1/uploads/{id}?peek`, for a page or a device that
shows how far another one has come.

With the tenant's key, or with a token that opens nothing but this (access/peek_tokens.py). The
upload's writer notices nothing: no new epoch, nobody is asked to store what it holds (INV-8).
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import TypeVar
from uuid import UUID

from aiohttp import web

from mediastore.access.peek_tokens import PeekTokens
from mediastore.app_keys import AUTHENTICATOR, CLOCK, SETTINGS
from mediastore.errors import NotFound
from mediastore.objects.fields import parse_object_id
from mediastore.public_urls import public_base
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.service import Standing

Answer = TypeVar("Answer", bound=web.StreamResponse)
PEEK_TOKENS = web.AppKey("peek_tokens", PeekTokens)
NAME = "peek"


def or_peek(
    handler: Callable[[web.Request], Awaitable[Answer]],
) -> Callable[[web.Request], Awaitable[Answer | web.Response]]:
    """`handler` for a HEAD that asks where to resume, and so takes the upload."""

    async def answer(request: web.Request) -> Answer | web.Response:
        if request.query_string and NAME in request.query:
            return await head(request)
        return await handler(request)

    return answer


async def head(request: web.Request) -> web.Response:
    """Offset and length as any protocol's HEAD says them. `Upload-Complete` when it is an object.

    A token shows the end of its upload for as long as an unfinished upload would have lasted.
    """
    id_ = parse_object_id(request.match_info["id"])
    token = request.query[NAME]
    if token:
        standing = await _shown_to_holder(request, token, id_)
    else:
        tenant = await request.app[AUTHENTICATOR].tenant(request)
        standing = await request.app[UPLOADS].peek(tenant.id, id_)
    headers = {
        "Cache-Control": "no-store",
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": str(standing.offset),
        "Upload-Complete": "?0" if standing.object is None else "?1",
    }
    if standing.length is not None:
        headers["Upload-Length"] = str(standing.length)
    if standing.upload is not None:
        headers["Upload-Expires"] = format_datetime(standing.upload.expires_at, usegmt=True)
    return web.Response(headers=headers)


async def give_token(request: web.Request) -> web.Response:
    """POST /v1/uploads/{id}/peek: a token for this upload, and the URL that it opens."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    id_ = parse_object_id(request.match_info["id"])
    await request.app[UPLOADS].peek(tenant.id, id_)
    token = await request.app[PEEK_TOKENS].make(tenant.id, id_)
    url = f"{public_base(request)}/v1/uploads/{id_}?{NAME}={token}"
    headers = {"Cache-Control": "no-store"}
    return web.json_response({"token": token, "url": url}, headers=headers)


async def _shown_to_holder(request: web.Request, token: str, id_: UUID) -> Standing:
    app = request.app
    tenant = await app[PEEK_TOKENS].tenant(token, id_)
    standing = await app[UPLOADS].peek(tenant, id_)
    shown = timedelta(seconds=app[SETTINGS].uploads.expires_seconds)
    made = standing.object
    if made is not None and made.created_at + shown <= app[CLOCK].now():
        raise NotFound
    return standing
