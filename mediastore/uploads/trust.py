"""May this replica believe the database about what the store holds (INV-2)?

A database that is behind the collectors' marker has been restored: until `mediastore-gc reconcile`
is through, a row that says "stored" may be of bytes that are gone. Meanwhile no upload relies on
one: its chunks are PUT again in place, and a blob that it meets is looked at in the store first, so
that what is missing is marked and the upload's own copy takes its place. Asked at the start and now
and then, never for an upload.
"""

import asyncio

import structlog

from mediastore.catalog.marker import checked_marker
from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import ChunkPlace, find_chunks, mark_damaged
from mediastore.chunkstore.copies import held_size
from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import Clock
from mediastore.collector_errors import CollectorRefused
from mediastore.errors import Unavailable

log = structlog.get_logger(__name__)

ASKED_EVERY_SECONDS = 30.0
LOOKS_AT_ONCE_MAX = 16
_BLOB_END = (1 << 63) - 1


class StoreTrust:
    """What this replica thinks of the database's word."""

    def __init__(self, catalog: Catalog, store: ChunkStore, clock: Clock) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self.doubted = False

    async def ask(self) -> None:
        """Compare the database with the marker. Raises Unavailable; then nothing has changed."""
        try:
            await checked_marker(self._catalog, self._store)
        except CollectorRefused as error:
            if not self.doubted:
                log.error("dedup_hits_doubted", code=error.code, why=error.detail)
            self.doubted = True
            return
        if self.doubted:
            log.info("dedup_hits_trusted_again")
        self.doubted = False

    async def keep_asking(self) -> None:
        """Until cancelled. A part that is down answers another time."""
        while True:
            await self._clock.sleep(ASKED_EVERY_SECONDS)
            try:
                await self.ask()
            except Unavailable as error:
                log.warning("marker_not_asked", code=error.code, why=error.detail)

    async def look_at(self, *blobs: bytes) -> None:
        """In doubt, mark what of these blobs is not in the store: then they are not whole, and what
        is uploaded is stored instead of linked.

        Raises Unavailable.
        """
        if not self.doubted:
            return
        for blob in blobs:
            start = 0
            while places := await find_chunks(
                self._catalog, blob, start, _BLOB_END, limit=LOOKS_AT_ONCE_MAX
            ):
                await asyncio.gather(*(self._look_at_chunk(place) for place in places))
                start = places[-1].end

    async def _look_at_chunk(self, place: ChunkPlace) -> None:
        if place.generation is None:
            return
        if await held_size(self._store, chunk_key(place.hash, place.generation)) != place.size:
            await mark_damaged(self._catalog, place.hash, place.generation)
