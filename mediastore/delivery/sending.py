"""Answers with content, written past aiohttp's header machinery, on its transport.

aiohttp renders every header of every response anew, which costs more than everything else that a
small answer from memory needs. Here the header block is bytes that were rendered once, and a small
body goes out with it in one write. Only public interfaces are used: the request's transport, the
`output_size` that aiohttp looks at to see whether an answer has begun, `protocol.writing_paused`,
and a response whose `prepare` and `write_eof` have nothing left to do. Framing is always
Content-Length.

What is written waits in no buffer of ours: the transport's limit is set to 0, so `drain` returns
when the kernel has all of it, and a chunk is let go only then. A reader that takes nothing for the
idle time is cut off.
"""

import asyncio
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import HttpVersion11, web

from mediastore.clock import Clock
from mediastore.telemetry.requests import CLIENT_CLOSED_STATUS, REQUEST_ID

BROKEN_OFF_STATUS = 500  # of an answer that could not be ended: never sent, only counted
_STATUS_LINES = {
    status: f"{status} {HTTPStatus(status).phrase}\r\n".encode() for status in (200, 206, 304)
}


class DateLine:
    """The Date header, rendered once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._line = b""

    def current(self) -> bytes:
        monotonic = self._clock.monotonic()
        if monotonic >= self._until:
            now = self._clock.now()
            self._until = monotonic + 1 - now.microsecond / 1e6
            self._line = f"Date: {formatdate(now.timestamp(), usegmt=True)}\r\n".encode()
        return self._line


class SentResponse(web.StreamResponse):
    """An answer that was written already; aiohttp only learns what becomes of the connection."""

    def __init__(self, status: int, *, keep_alive: bool) -> None:
        super().__init__(status=status)
        self._kept_alive = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._kept_alive

    @property
    def prepared(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Everything was prepared before."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything was written before."""


# They hold nothing of their request, so there is one of each kind.
_SENT = {
    (status, keep_alive): SentResponse(status, keep_alive=keep_alive)
    for status in (*_STATUS_LINES, CLIENT_CLOSED_STATUS, BROKEN_OFF_STATUS)
    for keep_alive in (True, False)
}


class Answer:
    """One answer of a known length to one request."""

    def __init__(
        self, request: web.Request, status: int, marks: bytes, *, idle_timeout_seconds: float
    ) -> None:
        """`marks` are the header lines that any answer has: Date, and those of CORS."""
        self._request = request
        self._status = status
        self._marks = marks
        self._idle_timeout_seconds = idle_timeout_seconds
        self._keep_alive = request.keep_alive
        self._http11 = request.version >= HttpVersion11
        self._head = b""

    def head(self, lines: bytes) -> bytes:
        """The status line and header block; `lines` are complete, with what frames the body."""
        request_id = self._request[REQUEST_ID].encode()
        if self._http11:
            start, connection = b"HTTP/1.1 ", b"" if self._keep_alive else b"Connection: close\r\n"
        else:
            start = b"HTTP/1.0 "
            connection = b"Connection: keep-alive\r\n" if self._keep_alive else b""
        status = _STATUS_LINES[self._status]
        named = (b"X-Request-Id: ", request_id, b"\r\n\r\n")
        return b"".join((start, status, lines, self._marks, connection, *named))

    async def send_whole(self, lines: bytes, body: bytes = b"") -> SentResponse:
        """A small answer in one write; the transport may hold it for slow readers."""
        if self.write_whole(lines, body):
            await self.drained()
        return self.finish()

    def write_whole(self, lines: bytes, body: bytes) -> bool:
        """As `send_whole`, without a wait: True if `drained` is to be waited for.

        Raises ConnectionResetError for a client that has gone.
        """
        self._write((self.head(lines), body) if body else (self.head(lines),))
        return self._request.protocol.writing_paused

    def begin(self, lines: bytes) -> None:
        """Take the header block of an answer; it goes out with the first part of its body."""
        self._transport().set_write_buffer_limits(high=0)
        self._head = self.head(lines)

    async def send(self, data: bytes | memoryview) -> None:
        """Send a part of the body; when this returns nobody refers to `data` any more.

        Raises ConnectionResetError, also for a reader that took nothing for too long.
        """
        if self._head:
            head, self._head = self._head, b""
            await self._send(head, data)
        else:
            await self._send(data)

    async def send_if_any(self, data: bytes) -> None:
        """As `send`; nothing for no bytes."""
        if data:
            await self.send(data)

    def finish(self) -> SentResponse:
        """The whole body was sent."""
        return _SENT[self._status, self._keep_alive]

    def break_off(self) -> SentResponse:
        """The rest cannot be sent: end the connection, so that nobody takes it for whole."""
        if self._request.transport is not None:
            self._request.transport.abort()
        return _SENT[BROKEN_OFF_STATUS, False]

    def give_up(self) -> SentResponse:
        """The client has gone, or takes nothing any more."""
        return _SENT[CLIENT_CLOSED_STATUS, False]

    async def _send(self, *parts: bytes | memoryview) -> None:
        self._write(parts)
        if self._request.protocol.writing_paused:
            await self.drained()

    def _write(self, parts: tuple[bytes | memoryview, ...]) -> None:
        transport = self._transport()
        self._request.writer.output_size += sum(map(len, parts))
        transport.writelines(parts)

    async def drained(self) -> None:
        """Wait until the kernel has taken everything; a reader that takes a little is not idle.

        Raises ConnectionResetError for a client that has gone or takes nothing any more.
        """
        transport = self._transport()
        watch = _IdleWatch(transport, self._idle_timeout_seconds)
        try:
            await self._request.writer.drain()
        finally:
            watch.stop()
        if transport.is_closing():
            raise ConnectionResetError("the client has gone")

    def _transport(self) -> asyncio.Transport:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        return transport


class _IdleWatch:
    """Aborts a transport whose write buffer does not shrink for `seconds`."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._start()

    def stop(self) -> None:
        self._timer.cancel()

    def _start(self) -> None:
        self._buffered = self._transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._look)

    def _look(self) -> None:
        if self._transport.get_write_buffer_size() < self._buffered:
            self._start()
        else:
            self._transport.abort()
