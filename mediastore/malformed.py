"""What comes to the port and is not HTTP: scanners, TLS to a plain port, headers without end.

aiohttp answers that below the application, with its own text and a traceback in the log; here such
a request gets the same kind of answer as any other, and one line that nobody is woken for.
"""

import asyncio
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from mediastore.errors import MediastoreError
from mediastore.problems import problem_response
from mediastore.request_errors import HeaderTooLarge, MalformedRequest

log = structlog.get_logger(__name__)


class AppRunner(web.AppRunner):
    """aiohttp's, with an answer of this service for what is not HTTP."""

    async def _make_server(self) -> web.Server:
        # BaseRunner's hook for its subclasses; what its server would be is asked for its parts.
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)


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
