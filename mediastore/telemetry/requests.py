"""What is around every request: its id, its metrics, its log line.

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


class RequestObserver:
    """Gives every request its id, and counts, times and logs it. Made once."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        *,
        access_log: AccessLog | None,
        client_of: Callable[[web.Request], str | None] = _peer,
        in_progress_max: int = sys.maxsize,
    ) -> None:
        """`client_of` tells the client's address for the access log."""
        self._metrics = metrics
        self._clock = clock
        self._access_log = access_log
        self._client_of = client_of
        self._new_id = _RequestIds()
        self.in_progress = 0
        self.in_progress_max = in_progress_max
        metrics.watch_requests(lambda: self.in_progress)

    def begin(self, request: web.Request) -> float:
        """A request has come: its moment, for `end`, which is to be called whatever happens."""
        given = request.headers.get(REQUEST_ID_HEADER)
        known = given is not None and _HARMLESS_ID.fullmatch(given) is not None
        request[REQUEST_ID] = request_id = given if known and given else self._new_id()
        SERVED_REQUEST_ID.set(request_id)
        self.in_progress += 1
        return self._clock.monotonic()

    def end(self, request: web.Request, began: float, route: str, status: int) -> None:
        """It was answered, or nobody is there any more."""
        self.in_progress -= 1
        seconds = self._clock.monotonic() - began
        self._metrics.request_ended(request.method, route, status, seconds)
        if self._access_log is not None:
            self._access_log(
                request[REQUEST_ID],
                request.method,
                request.rel_url.raw_path,
                status,
                seconds,
                self._client_of(request),
            )


def observe_requests(
    observer: RequestObserver,
    *,
    answer_error: Callable[[web.Request, Exception], web.StreamResponse] = _raise_again,
    on_end: Callable[[web.Request], None] = _nothing,
) -> Middleware:
    """The one middleware around every request: what happens inside it is counted and timed.

    `answer_error` makes the answer for what a handler raised, or raises it again. `on_end` is
    called when a request has been answered. Beyond the observer's `in_progress_max`, Overloaded.
    """

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = observer.begin(request)
        status = CLIENT_CLOSED_STATUS
        try:
            try:
                full = observer.in_progress > observer.in_progress_max
                refused = full and request.path != ALWAYS_ANSWERED
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
            on_end(request)
            observer.end(request, began, _route(request), status)

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
