"""One middleware around every request: its id, its metrics, its log line.

The id is the client's X-Request-Id where that is harmless text, else a new one; it goes back in
the answer and into every log line of the request. Paths are logged, query strings are not: they can
carry signatures.
"""

import re

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from uuid_utils.compat import uuid7

from mediastore.clock import Clock
from mediastore.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

REQUEST_ID = web.RequestKey("request_id", str)
REQUEST_ID_HEADER = "X-Request-Id"
UNMATCHED_ROUTE = "(none)"
CLIENT_CLOSED_STATUS = 499  # nginx's number for a client that went away: never sent, only counted
_HARMLESS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def observe_requests(metrics: Metrics, clock: Clock, *, access_log: bool) -> Middleware:
    """The outermost middleware: what happens inside it is counted and timed."""

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = _request_id(request)
        request[REQUEST_ID] = request_id
        started = clock.monotonic()
        status = CLIENT_CLOSED_STATUS
        metrics.requests_in_progress.inc()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                response = await handler(request)
                status = response.status
                return response
            except web.HTTPException as error:
                status = error.status
                raise
            except Exception:
                status = 500
                raise
            finally:
                metrics.requests_in_progress.dec()
                seconds = clock.monotonic() - started
                metrics.request_ended(request.method, _route(request), status, seconds)
                if access_log:
                    log.info(
                        "request",
                        method=request.method,
                        path=request.path,
                        status=status,
                        seconds=round(seconds, 6),
                        remote=request.remote,
                    )

    return observe


async def echo_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """An on_response_prepare signal: answers carry their request's id."""
    if (request_id := request.get(REQUEST_ID)) is not None:
        response.headers[REQUEST_ID_HEADER] = request_id


def _request_id(request: web.Request) -> str:
    given = request.headers.get(REQUEST_ID_HEADER, "")
    return given if _HARMLESS_ID.fullmatch(given) else uuid7().hex


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return UNMATCHED_ROUTE if resource is None else resource.canonical
