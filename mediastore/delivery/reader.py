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
from mediastore.delivery.chunks import Chunks, Standing
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


class BlobReader:
    """One pass over a part of a blob; its end as a context manager lets go of everything."""

    def __init__(self, parts: ReaderParts, blob: bytes, size: int, start: int, end: int) -> None:
        self._parts = parts
        self._blob = blob
        self._size = size
        self._offset = start
        self._end = end
        self._places: deque[ChunkPlace] = deque()
        self._ahead: dict[ChunkPlace, asyncio.Task[HeldChunk]] = {}
        self._held: HeldChunk | None = None
        self.first: Standing | None = None
        """Where the first chunk was when it was asked for."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._release()
        for task in self._ahead.values():
            task.cancel()
        for done in await asyncio.gather(*self._ahead.values(), return_exceptions=True):
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
        task = self._ahead.pop(place, None)
        if task is None:
            return None
        try:
            return await task
        except MediastoreError:
            return None
        except asyncio.CancelledError:
            self._ahead[place] = task  # this reader ends; __aexit__ sees to the task
            raise

    def _read_ahead(self) -> None:
        for place in list(self._places)[: self._parts.read_ahead_chunks]:
            if place not in self._ahead and not self._parts.chunks.at_hand(place.hash):
                self._ahead[place] = asyncio.create_task(self._parts.chunks.take(place, ahead=True))

    def _release(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None
