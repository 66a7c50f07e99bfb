"""The bytes `start` to `end` of a blob as verified chunks, in order, with the next ones fetched
ahead.

INV-9: a chunk is handed out only whole and verified. A reader waits for memory only while it holds
none, and reads ahead only into memory that is free, so readers cannot block each other for good.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Self

from mediastore.catalog.reading import ChunkPlace
from mediastore.delivery.chunks import Arrived, Chunks, Standing
from mediastore.delivery.fetching import VerifiedStore
from mediastore.delivery.held import HeldChunk
from mediastore.delivery.layout import Layouts
from mediastore.errors import ContentMissing, MediastoreError


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes `start` to `end` of a held chunk."""

    chunk: HeldChunk
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ReaderParts:
    """What all readers of the process share."""

    layouts: Layouts
    chunks: Chunks
    store: VerifiedStore
    read_ahead_chunks: int


class _Ahead:
    """A chunk that is read before it is due; calls `arrived` when the store has sent it."""

    __slots__ = ("_arrived", "coming", "task")

    def __init__(self, chunks: Chunks, place: ChunkPlace, arrived: Arrived) -> None:
        self._arrived = arrived
        self.coming = True
        self.task = asyncio.create_task(chunks.take(place, ahead=True, arrived=self._has_come))
        self.task.add_done_callback(self._is_done)

    def _is_done(self, task: asyncio.Task[HeldChunk]) -> None:
        if not task.cancelled():  # else the reader ends, and begins nothing more
            self._has_come()

    def _has_come(self) -> None:
        if self.coming:
            self.coming = False
            self._arrived()


class BlobReader:
    """One pass over a part of a blob; its end as a context manager lets go of everything."""

    def __init__(self, parts: ReaderParts, blob: bytes, size: int, start: int, end: int) -> None:
        self._parts = parts
        self._blob = blob
        self._size = size
        self._offset = start
        self._end = end
        self._places: deque[ChunkPlace] = deque()
        self._ahead: dict[ChunkPlace, _Ahead] = {}
        self._held: HeldChunk | None = None
        self._waited = False  # for the chunk that is held: the store is slower than the client
        self.first: Standing | None = None
        """Where the first chunk was when it was asked for."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._release()
        self._places.clear()  # so that nothing more is begun by what still comes
        tasks = [ahead.task for ahead in self._ahead.values()]
        for task in tasks:
            task.cancel()
        for done in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(done, HeldChunk):
                done.release()
        self._ahead.clear()

    async def next(self) -> Piece | None:
        """The next bytes, held until the next call; None at the end.

        Raises Overloaded, ContentDamaged, ContentMissing, CatalogUnavailable,
        ChunkStoreUnavailable.
        """
        self._release()
        if self._offset >= self._end:
            return None
        if not self._places:
            self._places.extend(await self._find())
        place = self._places.popleft()
        if self.first is None:
            self.first = self._parts.chunks.standing(place.hash)
        else:  # the first one is waited for alone: nothing is to delay the first byte
            self._waited = self._is_awaited(place)
            self._read_ahead()
        self._held, place = await self._take(place)
        piece = Piece(
            self._held, self._offset - place.start, min(self._end, place.end) - place.start
        )
        self._offset = place.start + piece.end
        self._read_ahead()
        return piece

    async def _find(self, *, fresh: bool = False) -> list[ChunkPlace]:
        return await self._parts.layouts.places(
            self._blob, self._size, self._offset, self._end, fresh=fresh
        )

    async def _take(self, place: ChunkPlace) -> tuple[HeldChunk, ChunkPlace]:
        held = await self._taken_ahead(place)
        if held is not None:
            return held, place
        try:
            return await self._parts.chunks.take(place), place
        except ContentMissing:
            pass
        # It may have been stored anew, or the blob cut anew, since its place was read.
        self._places = deque(await self._find(fresh=True))
        current = self._places.popleft()
        try:
            return await self._parts.chunks.take(current), current
        except ContentMissing:
            await self._parts.store.confirm_missing(current)
            raise

    async def _taken_ahead(self, place: ChunkPlace) -> HeldChunk | None:
        """What was read ahead. What went wrong with that is met again, and told, without hurry."""
        ahead = self._ahead.get(place)
        if ahead is None:
            return None
        try:
            held = await ahead.task  # if this is cancelled, __aexit__ sees to the task
        except MediastoreError:
            held = None
        del self._ahead[place]
        return held

    def _is_awaited(self, place: ChunkPlace) -> bool:
        ahead = self._ahead.get(place)
        if ahead is not None:
            return not ahead.task.done()
        return self._parts.chunks.standing(place.hash) is not Standing.AT_HAND

    def _read_ahead(self) -> None:
        """Begin what is to be under way: `read_ahead_chunks`, or for a client that outruns the
        store, which is to find no connection idle, one more, whatever of them has come already.
        """
        ahead = chunks = self._parts.read_ahead_chunks
        if not ahead:
            return
        if self._waited:
            chunks += 1
        coming = sum(one.coming for one in self._ahead.values())
        for place in list(self._places)[:chunks]:
            if coming > ahead:
                break
            if place not in self._ahead and not self._parts.chunks.at_hand(place.hash):
                self._ahead[place] = _Ahead(self._parts.chunks, place, self._read_ahead)
                coming += 1

    def _release(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None
