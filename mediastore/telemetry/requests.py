"""One middleware around every request: its id, its metrics, its log line.

The id is the client's X-Request-Id where that is harmless text, else a new one; it goes back in
the answer and into every log line of the request. Paths are logged, query strings are not: they can
carry signatures.
"""

import re
import secrets
import sys
from collections.abc import Callable
from itertools import count

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import istr

from mediastore.clock import Clock
from mediastore.errors import Overloaded
from mediastore.telemetry.access_log import AccessLog
from mediastore.telemetry.logs import SERVED_REQUEST_ID
from mediastore.telemetry.metrics import Metrics

REQUEST_ID = web.RequestKey("request_id", str)
REQUEST_ID_HEADER = istr("X-Request-Id")
UNMATCHED_ROUTE = "(none)"
CLIENT_CLOSED_STATUS = 499  # nginx's number for a client that went away: never sent, only counted
_HARMLESS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


# An orchestrator ends a process that does not say that it lives: being busy is no reason for that.
ALWAYS_ANSWERED = "/healthz"


def _raise_again(_request: web.Request, error: Exception) -> web.StreamResponse:
    raise error


def _peer(request: web.Request) -> str | None:
    return request.remote


def _nothing(_request: web.Request) -> None:
    return None


async def _refuse(_request: web.Request) -> web.StreamResponse:
    raise Overloaded("too many requests are in progress")


def observe_requests(
    metrics: Metrics,
    clock: Clock,
    *,
    access_log: AccessLog | None,
    answer_error: Callable[[web.Request, Exception], web.StreamResponse] = _raise_again,
    client_of: Callable[[web.Request], str | None] = _peer,
    on_end: Callable[[web.Request], None] = _nothing,
    in_progress_max: int = sys.maxsize,
) -> Middleware:
    """The one middleware around every request: what happens inside it is counted and timed.

    `answer_error` makes the answer for what a handler raised, or raises it again. `client_of` tells
    the client's address for the access log; `on_end` is called when a request has been answered.
    Beyond `in_progress_max` requests at once, Overloaded.
    """
    new_id = _RequestIds()
    in_progress = 0
    metrics.watch_requests(lambda: in_progress)

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal in_progress
        started = clock.monotonic()
        given = request.headers.get(REQUEST_ID_HEADER)
        request_id = new_id() if given is None or not _HARMLESS_ID.fullmatch(given) else given
        request[REQUEST_ID] = request_id
        SERVED_REQUEST_ID.set(request_id)
        status = CLIENT_CLOSED_STATUS
        in_progress += 1
        try:
            try:
                refused = in_progress > in_progress_max and request.path != ALWAYS_ANSWERED
                response = await (_refuse if refused else handler)(request)
            except Exception as error:  # noqa: BLE001  (`answer_error` raises what it cannot answer)
                response = answer_error(request, error)
            status = response.status
            return response
        except web.HTTPException as error:
            status = error.status
            raise
        except ConnectionError:
            raise
        except Exception:
            status = 500
            raise
        finally:
            in_progress -= 1
            on_end(request)
            seconds = clock.monotonic() - started
            metrics.request_ended(request.method, _route(request), status, seconds)
            if access_log is not None:
                access_log(
                    request_id,
                    request.method,
                    request.rel_url.raw_path,
                    status,
                    seconds,
                    client_of(request),
                )

    return observe


async def echo_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """An on_response_prepare signal: answers carry their request's id."""
    if (request_id := request.get(REQUEST_ID)) is not None:
        response.headers[REQUEST_ID_HEADER] = request_id


class _RequestIds:
    """32 hexadecimal digits: random for the process, then counted."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(10)
        self._numbers = count(1)

    def __call__(self) -> str:
        return f"{self._process}{next(self._numbers):012x}"


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return UNMATCHED_ROUTE if resource is None else resource.canonical
