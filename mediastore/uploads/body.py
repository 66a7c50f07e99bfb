"""A request's body as the session reads it: nothing the process has received is lost, nothing waits
for ever.

aiohttp's StreamReader raises as soon as the connection breaks and drops what it has buffered; this
reader hands that over first, because every byte that can be stored is a byte the client need not
send again.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from aiohttp import ClientError, StreamReader
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from mediastore.clock import Clock
from mediastore.settings import HttpSettings, UploadSettings

_LOSSES = (OSError, ClientError, HttpProcessingError, RequestPayloadError)


class BodyEnd(Enum):
    """Why a body gave no more bytes."""

    WHOLE = "whole"
    """The client has sent all of it."""
    BROKEN = "broken"
    """The connection broke, or its framing did; all that was received has been handed over."""
    SLOW = "slow"
    """The client sent nothing, or too little, for too long."""
    STOPPED = "stopped"
    """This process is shutting down."""
    TAKEN = "taken"
    """Another request has taken the upload over."""


class Body(Protocol):
    """What a session reads: a request's body, or a part of one."""

    end: BodyEnd | None

    async def read(self) -> bytes | None:
        """See BodyReader."""

    def wake(self) -> None:
        """See BodyReader."""

    def forgive(self) -> None:
        """See BodyReader."""


class BodyReader:
    """Pieces of a body as they come; `end` is set once `read` returns None."""

    def __init__(
        self, stream: StreamReader, clock: Clock, http: HttpSettings, uploads: UploadSettings
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._idle_seconds = http.body_idle_timeout_seconds
        self._rate_min = uploads.body_rate_min_bytes_per_second
        self._window_seconds = uploads.rate_window_seconds
        self._window_start = clock.monotonic()
        self._window_bytes = 0
        self._deadline: asyncio.Timeout | None = None
        self._interruption: BodyEnd | None = None
        self._woken = False
        self.end: BodyEnd | None = None
        self.settled = asyncio.Event()  # set when its request has stored, or given up, all it held
        self.received_bytes = 0

    async def read(self) -> bytes | None:
        """The next bytes; b"" when `wake` was called meanwhile; None at the end, whose kind is in
        `end`.
        """
        if self.end is not None:
            return None
        if self._interruption is not None:
            return self._hand_over(self._interruption)
        if self._woken:
            self._woken = False
            return b""
        try:
            piece = await self._next_piece()
        except TimeoutError:
            return self._after_timeout()
        except _LOSSES:
            return self._hand_over(BodyEnd.BROKEN)
        finally:
            self._deadline = None
        if not piece:
            return self._finish(BodyEnd.WHOLE)
        self.received_bytes += len(piece)
        return self._finish(BodyEnd.SLOW, piece) if self._too_slow(len(piece)) else piece

    def wake(self) -> None:
        """Let a waiting `read` return b"" now: its caller has something better to do."""
        self._woken = True
        self._expire()

    @property
    def interrupted(self) -> bool:
        return self._interruption is not None

    def interrupt(self, end: BodyEnd) -> None:
        """Let the body end now, in this way."""
        self._interruption = end
        self._expire()

    def forgive(self) -> None:
        """Begin a new rate window: the time since the last read was ours, not the client's."""
        self._window_start = self._clock.monotonic()
        self._window_bytes = 0

    async def _next_piece(self) -> bytes:
        """A piece as the socket gave it, b"" at the end. Asking for all that is there would copy
        every byte once more, and a timeout costs more than all the rest of this.
        """
        while not self._stream.at_eof():
            if self._stream.total_bytes > self.received_bytes:
                piece, _ = await self._stream.readchunk()
            else:
                async with asyncio.timeout(self._idle_seconds) as self._deadline:
                    piece, _ = await self._stream.readchunk()
            if piece:  # it is empty at the end of an HTTP chunk
                return piece
        return b""

    def _expire(self) -> None:
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(0)

    def _after_timeout(self) -> bytes | None:
        if self._interruption is not None:
            return self._hand_over(self._interruption)
        if self._woken:
            self._woken = False
            return b""
        return self._finish(BodyEnd.SLOW)

    def _hand_over(self, end: BodyEnd) -> bytes | None:
        """The body ends here; what the process has received of it is not lost."""
        leftover = received_but_unread(self._stream)
        self.received_bytes += len(leftover)
        return self._finish(end, leftover or None)

    def _finish(self, end: BodyEnd, last: bytes | None = None) -> bytes | None:
        self.end = end
        return last

    def _too_slow(self, size: int) -> bool:
        self._window_bytes += size
        elapsed = self._clock.monotonic() - self._window_start
        if elapsed < self._window_seconds:
            return False
        slow = self._window_bytes < self._rate_min * elapsed
        self.forgive()
        return slow


def received_but_unread(stream: StreamReader) -> bytes:
    """What a broken stream still holds. aiohttp has no public way to ask; a test holds this one."""
    take: Callable[[int], bytes] = stream._read_nowait
    return take(-1) if stream._buffer else b""
