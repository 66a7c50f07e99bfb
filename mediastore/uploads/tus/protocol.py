"""The protocol itself: its version, the extensions that are on, and what every answer carries."""

from collections.abc import Awaitable, Callable
from functools import wraps

from aiohttp import web

from mediastore.content.digests import TUS_ALGORITHMS
from mediastore.errors import (
    MediastoreError,
    RequestTimeout,
    TooManyRequests,
    UnsupportedTusVersion,
)
from mediastore.problems import problem_response
from mediastore.tus_errors import BodyTooSlow, TenantBusy
from mediastore.uploads.told_policy import told_policy

VERSION = "1.0.0"
EXTENSIONS = (
    "checksum",
    "concatenation",
    "concatenation-unfinished",
    "creation",
    "creation-defer-length",
    "creation-with-upload",
    "expiration",
    "termination",
)
"""What is on, as OPTIONS says it; a test compares the table in docs/uploads.md with it."""
OFFSET_TYPE = "application/offset+octet-stream"
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
            response = problem_response(_not_final(error))
            if isinstance(error, UnsupportedTusVersion):
                response.headers["Tus-Version"] = VERSION
            if "offset" in error.members:
                response.headers["Upload-Offset"] = str(error.members["offset"])
        response.headers["Tus-Resumable"] = VERSION
        response.headers["Cache-Control"] = "no-store"
        return response

    return marked


def _not_final(error: MediastoreError) -> MediastoreError:
    """Clients give up at a 408 or a 429, as at most of 4xx. At a 409 they ask for the offset and go
    on; at a 503 they wait a little before.
    """
    if isinstance(error, RequestTimeout):
        return BodyTooSlow(error.detail, **error.members)
    if isinstance(error, TooManyRequests):
        return TenantBusy(**error.members)
    return error


async def options(request: web.Request) -> web.Response:
    """Requests: OPTIONS. What this server can; no key needed."""
    policy = await told_policy(request)
    return web.Response(
        status=204,
        headers={
            "Tus-Resumable": VERSION,
            "Tus-Version": VERSION,
            "Tus-Extension": ",".join(EXTENSIONS),
            "Tus-Checksum-Algorithm": ",".join(TUS_ALGORITHMS),
            "Tus-Max-Size": str(policy.size_max_bytes),
        },
    )
