"""The recount of INV-7: a complete pass over every reference, without which no key is claimed.

The pass is recorded with its snapshot before it reads anything; then upload_chunks in one snapshot,
then manifests in blob order, then unlinking (references only move that way). What others' removed
blobs were made of is read last, if something is erased: it keeps its window (INV-6). Whatever is
doubtful raises RecountFailed and the pass is never recorded as finished, so nothing is deleted on
its word.
Memory: a Bloom filter and one page.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import structlog

from mediastore.catalog import recount as references
from mediastore.catalog.pool import Catalog
from mediastore.clock import Clock
from mediastore.collector_errors import RecountFailed
from mediastore.content.hashing import HASH_BYTES
from mediastore.settings import CollectionSettings
from mediastore_gc.bloom import BloomFilter
from mediastore_gc.manifests import ListReader
from mediastore_gc.progress import Progress

log = structlog.get_logger(__name__)

# A paced pass sleeps between pages; a page is small enough that the pause within a snapshot stays
# short.
PAUSE_MAX_SECONDS = 5
KEEP_BATCH_HASHES = 10_000


@dataclass(frozen=True, slots=True)
class RecountReport:
    """A finished pass. `hashes_seen` are doomed hashes that something refers to; `spared` keys of
    what was erased wait for their window after all.
    """

    id: int
    references_read: int
    manifests_read: int
    hashes_seen: int
    spared: int
    filter_bytes: int


class Recount:
    """One pass. Used once."""

    def __init__(
        self,
        catalog: Catalog,
        settings: CollectionSettings,
        clock: Clock,
        *,
        window_seconds: int,
        stop: asyncio.Event,
        progress: Progress,
    ) -> None:
        self._catalog = catalog
        self._window_seconds = window_seconds
        self._clock = clock
        self._stop = stop
        self._progress = progress
        self._rate = settings.recount_rate_rows_per_second
        self._page = settings.recount_page_entries
        if self._rate:
            self._page = max(1, min(self._page, self._rate * PAUSE_MAX_SECONDS))
        self._doomed = BloomFilter(0)
        self._maybe: list[bytes] = []
        self._recount = 0
        self._unpaced = 0
        self._references_read = 0
        self._manifests_read = 0
        self._hashes_seen = 0
        self._spared = 0

    async def run(self, incarnation: UUID) -> RecountReport | None:
        """Make the pass and record it. None: it was asked to stop, and is not recorded as finished.

        Raises RecountFailed, CatalogUnavailable.
        """
        start = await references.start_recount(self._catalog, incarnation)
        if start is None:
            raise RecountFailed("the database has another incarnation")
        self._recount = start.id
        expectation = await references.expect(self._catalog)
        self._progress.begin("recounting", "manifests", expectation.manifests)
        await self._load_doomed()
        for step in (
            self._read_upload_chunks,
            self._read_manifests,
            self._read_unlinking,
            self._read_tombstones,
        ):
            await step()
            await self._keep_met()
            if self._stop.is_set():
                log.info("recount_stopped", recount=start.id)
                return None
        await self._check_counts(start, expectation)
        finished = await references.finish_recount(
            self._catalog,
            start,
            references_read=self._references_read,
            manifests_read=self._manifests_read,
        )
        if not finished:
            raise RecountFailed(
                "the pass's own row is gone, or the incarnation or the server has changed"
            )
        return RecountReport(
            start.id,
            self._references_read,
            self._manifests_read,
            self._hashes_seen,
            self._spared,
            self._doomed.size_bytes,
        )

    async def _load_doomed(self) -> None:
        self._doomed = BloomFilter(await references.doomed_count(self._catalog))
        async with aclosing(references.doomed_pages(self._catalog, self._page)) as pages:
            async for hashes in pages:
                for hash_ in hashes:
                    self._doomed.add(hash_)

    async def _read_upload_chunks(self) -> None:
        read = total = 0
        async with aclosing(references.upload_chunk_pages(self._catalog, self._page)) as pages:
            async for total, hashes in pages:  # noqa: B007  (the last total is compared below)
                read += len(hashes)
                if any(len(hash_) != HASH_BYTES for hash_ in hashes):
                    raise RecountFailed("upload_chunks has a hash that is not 32 bytes")
                if await self._meet(hashes, len(hashes)):
                    return
        if read != total:
            raise RecountFailed(f"upload_chunks has {total} rows, {read} could be read")

    async def _read_unlinking(self) -> None:
        last = await references.last_unlinking(self._catalog)
        reader = ListReader()
        pieces = references.unlinking_pieces(self._catalog, up_to_id=last, page_entries=self._page)
        async with aclosing(pieces):
            async for piece in pieces:
                hashes = reader.read(piece)
                if await self._meet(hashes, len(hashes)):
                    return
        reader.close()

    async def _read_manifests(self) -> None:
        reader = ListReader()
        pieces = references.manifest_pieces(self._catalog, page_entries=self._page)
        async with aclosing(pieces):
            async for piece in pieces:
                hashes = reader.read(piece)
                self._progress.done = reader.lists_read
                if await self._meet(hashes, max(1, len(hashes))):
                    return
        reader.close()
        self._manifests_read = reader.lists_read

    async def _read_tombstones(self) -> None:
        """What is erased goes before its window only if nobody else has deleted it within that."""
        if not await references.any_erased(self._catalog):
            return
        reader = ListReader()
        pieces = references.tombstone_pieces(
            self._catalog, window_seconds=self._window_seconds, page_entries=self._page
        )
        async with aclosing(pieces):
            async for piece in pieces:
                hashes = reader.read(piece)
                met = self._doomed.matching(hashes)
                for start in range(0, len(met), KEEP_BATCH_HASHES):
                    batch = met[start : start + KEEP_BATCH_HASHES]
                    self._spared += await references.spare(self._catalog, batch)
                if await self._keep_pace(max(1, len(hashes))):
                    return
        reader.close()

    async def _meet(self, hashes: list[bytes], rows: int) -> bool:
        """Count a page's references, note the doomed ones, keep the pace. True: stop."""
        self._references_read += len(hashes)
        self._maybe += self._doomed.matching(hashes)
        if len(self._maybe) >= KEEP_BATCH_HASHES:
            await self._keep_met()
        return await self._keep_pace(rows)

    async def _keep_pace(self, rows: int) -> bool:
        """True: stop."""
        self._unpaced += rows
        if self._rate and self._unpaced >= self._page:
            await self._clock.sleep(self._unpaced / self._rate)
            self._unpaced = 0
        return self._stop.is_set()

    async def _keep_met(self) -> None:
        met, self._maybe = self._maybe, []
        for start in range(0, len(met), KEEP_BATCH_HASHES):
            batch = met[start : start + KEEP_BATCH_HASHES]
            self._hashes_seen += await references.keep(self._catalog, self._recount, batch)

    async def _check_counts(
        self, start: references.RecountStart, expectation: references.Expectation
    ) -> None:
        """INV-7: a count that cannot be right means that nothing is deleted."""
        removed = await references.removed_since(self._catalog, start.started_at)
        if self._manifests_read < expectation.manifests - removed:
            raise RecountFailed(
                f"there were {expectation.manifests} manifests, {removed} were removed since, "
                f"yet only {self._manifests_read} could be read"
            )
        if self._references_read == 0 and expectation.has_chunks:
            after = await references.expect(self._catalog)
            if after.has_chunks:
                raise RecountFailed("there are chunks, yet no references: a table looks empty")
