"""A source's content as the session reads it: goes on by itself where the source broke off.

The rates and idle times of any body hold for it. While the source is asked again the session can
still be woken, so what it holds is not kept from others.
"""

import asyncio

from aiohttp import StreamReader

from mediastore.clock import Clock
from mediastore.errors import TooLarge
from mediastore.request_errors import SourceFailed
from mediastore.settings import Settings
from mediastore.uploads.body import BodyEnd, BodyReader
from mediastore.uploads.pull_source import Source

_REASONS = {BodyEnd.SLOW: "too_slow", BodyEnd.BROKEN: "broke_off"}


class PullReader(BodyReader):
    """Reads a source to its end; `deadline` is when that must be reached, on the clock."""

    def __init__(
        self,
        source: Source,
        stream: StreamReader,
        clock: Clock,
        settings: Settings,
        *,
        deadline: float,
    ) -> None:
        super().__init__(stream, clock, settings.http, settings.uploads)
        self._source = source
        self._size_max_bytes = settings.pull.size_max_bytes
        self._deadline_seconds = deadline
        self._earlier_bytes = 0  # of the connections before this one
        self._opening: asyncio.Task[StreamReader] | None = None
        self._nudged = asyncio.Event()

    async def read(self) -> bytes | None:
        """As BodyReader's. Raises SourceFailed, SourceRefused, TooLarge."""
        while True:
            if self._clock.monotonic() > self._deadline_seconds:
                raise SourceFailed("the pull took too long", reason="duration")
            if self._opening is None:
                piece = await super().read()
                if piece is not None:
                    return self._counted(piece)
                if self._whole_or_stopped():
                    return None
                self._opening = asyncio.create_task(self._source.resume(self._offset))
            if not await self._opened(self._opening):
                return None if self._interruption is not None else b""

    def wake(self) -> None:
        super().wake()
        self._nudged.set()

    def interrupt(self, end: BodyEnd) -> None:
        super().interrupt(end)
        self._nudged.set()

    async def close(self) -> None:
        """Give up asking, if the source is being asked."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)

    @property
    def _offset(self) -> int:
        return self._earlier_bytes + self.received_bytes

    def _counted(self, piece: bytes) -> bytes:
        if self._offset > self._size_max_bytes:
            raise TooLarge(f"the source has more than {self._size_max_bytes} bytes")
        return piece

    def _whole_or_stopped(self) -> bool:
        """Has the body ended, and not for a reason that asking again may cure?"""
        if self.end is BodyEnd.WHOLE and self._source.length not in (None, self._offset):
            self.end = BodyEnd.BROKEN
        if self.end is None or self.end not in _REASONS:
            return True
        if not self._source.attempts_left:
            raise SourceFailed("the source did not send all of it", reason=_REASONS[self.end])
        return False

    async def _opened(self, opening: asyncio.Task[StreamReader]) -> bool:
        """Wait for the source. False: somebody wants this reader's attention first."""
        nudge = asyncio.create_task(self._nudged.wait())
        await asyncio.wait([opening, nudge], return_when=asyncio.FIRST_COMPLETED)
        nudge.cancel()
        if self._nudged.is_set():
            self._nudged.clear()
            self._woken = False
            if self._interruption is not None:
                self.end = self._interruption
            return False
        self._stream, self._opening, self.end = opening.result(), None, None
        self._earlier_bytes, self.received_bytes = self._offset, 0
        self.forgive()
        return True
