"""Errors as `application/problem+json` (RFC 9457) with a stable `code`: one middleware renders them
all.

What is not a MediastoreError is logged with its traceback and told to the client as `internal`
only.
"""

import json
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from mediastore.errors import (
    BadLength,
    BadRequest,
    ChecksumMismatch,
    MediastoreError,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    TooLarge,
    Unauthorized,
)
from mediastore.telemetry.requests import CLIENT_CLOSED_STATUS

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"
TYPE_BASE = "urn:mediastore:error:"
_ROUTER_ERRORS: dict[int, type[MediastoreError]] = {
    400: BadRequest,
    404: NotFound,
    405: MethodNotAllowed,
    408: RequestTimeout,
    411: BadLength,
    413: TooLarge,
}
_REASONS = {ChecksumMismatch.status: "Checksum Mismatch"}  # of statuses that HTTP does not know
# A body that is still coming is read and thrown away for a while, so that the client reads the
# answer instead of a reset; more than this is not worth the wait and the connection is closed after
# the answer.
UNREAD_BODY_MAX_BYTES = 256 * 1024


def problem_document(error: MediastoreError) -> dict[str, Any]:
    """The members of RFC 9457, `code`, and what the occurrence adds."""
    return {
        "type": error.type_uri or TYPE_BASE + error.code,
        "title": type(error).message(),
        "status": error.status,
        "code": error.code,
        # What a part said of its failure can name hosts and keys: that is for the log.
        "detail": error.detail if error.status < 500 else type(error).message(),
        **error.members,
    }


def problem_response(error: MediastoreError) -> web.Response:
    """The answer for `error`; never cached."""
    headers = {"Cache-Control": "no-store"}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="mediastore"'
    return web.Response(
        body=json.dumps(problem_document(error), default=str).encode(),
        status=error.status,
        reason=_reason(error.status),
        headers=headers,
        content_type=CONTENT_TYPE,
    )


@web.middleware
async def render_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A middleware that does nothing but `answer_error`."""
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001  (this is where all of them end)
        return answer_error(request, error)


def answer_error(request: web.Request, error: Exception) -> web.StreamResponse:
    """The answer for what a handler raised; anything unexpected becomes `internal`.

    Raises aiohttp's redirects, which are no errors.
    """
    if isinstance(error, MediastoreError):
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("request_failed", code=error.code, detail=error.detail, path=request.path)
        response = problem_response(error)
    elif isinstance(error, web.HTTPException):
        response = _from_aiohttp(error)
    elif isinstance(error, ConnectionError) and _client_has_gone(request):
        return web.Response(status=CLIENT_CLOSED_STATUS)  # there is nobody to write it to
    else:
        log.error("request_crashed", path=request.path, exc_info=error)
        response = problem_response(MediastoreError())
    _close_after_large_body(request, response)
    return response


def _reason(status: int) -> str:
    return _REASONS.get(status) or HTTPStatus(status).phrase


def _client_has_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _from_aiohttp(error: web.HTTPException) -> web.Response:
    kind = _ROUTER_ERRORS.get(error.status)
    if kind is None:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise error
        kind = BadRequest if error.status < HTTPStatus.INTERNAL_SERVER_ERROR else MediastoreError
    response = problem_response(kind())
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    return response


def _close_after_large_body(request: web.Request, response: web.StreamResponse) -> None:
    """Keep the connection only when the rest of the body is short enough to be read and dropped."""
    if not request.can_read_body or request.content.is_eof():
        return
    length = request.content_length
    if length is None or length - request.content.total_bytes > UNREAD_BODY_MAX_BYTES:
        response.force_close()
