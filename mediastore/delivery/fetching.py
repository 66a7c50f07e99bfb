"""One chunk from the store, whole and verified, or not at all (INV-9).

A copy that does not have its hash is read a second time, and only then marked: the first read may
have been damaged on its way. A process that marks much is more likely to be broken itself (memory,
a wrong mount) than the store is, so after `MARKS_MAX` marks within `MARKS_WINDOW_SECONDS` it marks
no more and says so on /readyz.
"""

import asyncio
from collections import deque

import structlog

from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import ChunkPlace, mark_damaged
from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import ChunkStore, MissingKey
from mediastore.clock import Clock
from mediastore.content.hashing import THREAD_WORTH_BYTES, BlobHasher
from mediastore.delivery.chunks import Arrived
from mediastore.errors import Broken, ContentDamaged, ContentMissing, MediastoreError
from mediastore.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

MARKS_MAX = 64
MARKS_WINDOW_SECONDS = 3600.0


class VerifiedStore:
    """Reads of chunks that return the bytes that were asked for or raise."""

    def __init__(self, store: ChunkStore, catalog: Catalog, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._metrics = metrics
        self._marked_at: deque[float] = deque(maxlen=MARKS_MAX)

    async def get(self, place: ChunkPlace, arrived: Arrived) -> bytes:
        """The chunk's bytes, verified. `arrived` is called when they have come.

        Raises ContentDamaged (after marking the copy), ContentMissing, ChunkStoreUnavailable.
        """
        if place.generation is None:
            raise ContentMissing
        key = chunk_key(place.hash, place.generation)
        data = await self._read(key)
        arrived()
        if await _is_named(data, place):
            return data
        log.warning("chunk_verification_failed", key=key, size=len(data), expected=place.size)
        del data
        data = await self._read(key)
        if await _is_named(data, place):
            log.warning("chunk_damaged_on_the_way", key=key)
            return data
        self._metrics.chunks_damaged.inc()
        log.error("chunk_damaged", key=key, size=len(data), expected=place.size)
        await self._mark(place, place.generation)
        raise ContentDamaged

    async def confirm_missing(self, place: ChunkPlace) -> None:
        """To be called when a fresh manifest still names a copy that is not there: mark it.

        An unmarked one would go on being a dedup hit (INV-2), and lose the next upload as well.
        """
        self._metrics.chunks_missing.inc()
        log.error("chunk_missing", hash=place.hash.hex(), generation=place.generation)
        if place.generation is not None:
            await self._mark(place, place.generation)

    async def check(self) -> None:
        """For readiness: raises Broken when this process has stopped marking."""
        if self._marks_stopped():
            raise Broken(f"{MARKS_MAX} chunks read badly here within an hour; see the log")

    async def _read(self, key: str) -> bytes:
        try:
            return await self._store.get(key)
        except MissingKey:
            raise ContentMissing from None

    async def _mark(self, place: ChunkPlace, generation: int) -> None:
        if self._marks_stopped():
            log.error("chunk_not_marked", hash=place.hash.hex(), detail="too many marks")
            return
        try:
            marked = await mark_damaged(self._catalog, place.hash, generation)
        except MediastoreError as error:  # the read fails either way; the next one marks
            log.warning("chunk_not_marked", hash=place.hash.hex(), detail=error.detail)
            return
        if marked:
            self._marked_at.append(self._clock.monotonic())

    def _marks_stopped(self) -> bool:
        return (
            len(self._marked_at) == MARKS_MAX
            and self._clock.monotonic() - self._marked_at[0] < MARKS_WINDOW_SECONDS
        )


async def _is_named(data: bytes, place: ChunkPlace) -> bool:
    if len(data) != place.size:
        return False
    if len(data) < THREAD_WORTH_BYTES:
        return _hash(data) == place.hash
    return await asyncio.to_thread(_hash, data) == place.hash


def _hash(data: bytes) -> bytes:
    hasher = BlobHasher()
    hasher.update(data)
    return hasher.digest()
