"""Between the connection and the application: what is not HTTP, and hits that need nothing of it.

Scanners, TLS to a plain port, headers without end: aiohttp answers those below the application,
with its own text and a traceback in the log; here such a request gets the same kind of answer as
any other, and one line that nobody is woken for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from mediastore.delivery.keys import WARM_READS
from mediastore.delivery.warm import WarmReads
from mediastore.errors import MediastoreError
from mediastore.problems import problem_response
from mediastore.request_errors import HeaderTooLarge, MalformedRequest

RequestCallback = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = structlog.get_logger(__name__)


class AppRunner(web.AppRunner):
    """aiohttp's, with an answer of this service for what is not HTTP."""

    async def _make_server(self) -> web.Server:
        # BaseRunner's hook for its subclasses; what its server would be is asked for its parts.
        made = await super()._make_server()
        handler = made.request_handler
        warm = self.app.get(WARM_READS)  # an application that serves no content has none
        if warm is not None:
            handler = _warm_first(warm, handler)
        return _Server(handler, request_factory=made.request_factory, **self._kwargs)


def _warm_first(warm: WarmReads, others: RequestCallback) -> RequestCallback:
    """Ask `warm`, and the application's `others` for what that does not answer."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = await warm.answer(request) if isinstance(request, web.Request) else None
        return await others(request) if response is None else response

    return handle


class _Server(web.Server):
    """The connections of one listening application."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)


class _Connection(RequestHandler):
    """One connection. aiohttp calls `handle_error` for what it could not parse (400), and for what
    the application let through, which its middlewares do not.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status != HTTPStatus.BAD_REQUEST or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        error: MediastoreError
        error = HeaderTooLarge() if isinstance(exc, LineTooLong) else MalformedRequest()
        log.info("request_malformed", remote=request.remote, code=error.code, why=_name(exc))
        response = problem_response(error)
        response.force_close()
        return response


def _name(error: BaseException | None) -> str | None:
    """What was wrong, without a byte of what was sent."""
    return None if error is None else type(error).__name__
