"""Reads chunks back and hashes them (INV-9 before a reader meets it).

A copy is bad only after a second read; then its row is marked, so that it is no dedup hit (INV-2)
and the next upload of the same bytes heals it. With a second store it is healed at once: good bytes
from there are put back under the row's own key and read again. When much is bad the store or this
host is, not the chunks: the scrub stops before it has marked more.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from mediastore.catalog.auditing import CopyName, HashRange, is_stored, just_before
from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import find_chunks, mark_damaged
from mediastore.catalog.scrubbing import (
    ChunkCopy,
    contents_after,
    first_id_at,
    lift_mark,
    stored_copies,
    time_of,
)
from mediastore.chunkstore.copies import held_size, verified_body
from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import Clock
from mediastore.collector_errors import CollectorRefused
from mediastore.content import checksum
from mediastore_gc.hurt import Hurt, whom_it_hurts
from mediastore_gc.progress import Progress

PAGE_ROWS = 500
READS_AT_ONCE_MAX = 8  # of at most 8 MiB each
OBJECTS_PAGE = 200
ENTRIES_PAGE = 500
# More than this many bad copies, and this share of what was read, is not what disks do.
BAD_MIN, BAD_SHARE_MAX = 20, 0.1
_SAMPLED = 1 << 32


@dataclass(frozen=True, slots=True)
class ScrubOrder:
    """What to read. `sample`: share of the chunks, others each time. `since`: what objects of
    uploads begun since then are made of. `rate` in bytes a second; 0: as fast as it goes.
    """

    range_: HashRange = field(default_factory=HashRange)
    sample: float = 1.0
    since: datetime | None = None
    rate: int = 0
    after: bytes = b""


@dataclass(slots=True)
class Scrubbed:
    """What was read and what was bad. `resume`: the hash, or with `since` the moment, to go on
    behind; None: nothing is left.
    """

    chunks: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)
    hurt: Hurt = field(default_factory=Hurt)
    resume: str | None = None

    @property
    def bad(self) -> int:
        return len(self.damaged) + len(self.missing)


class Scrub:
    """One scrub. Used once."""

    def __init__(
        self,
        catalog: Catalog,
        store: ChunkStore,
        clock: Clock,
        *,
        second: ChunkStore | None = None,
        mark: bool,
        stop: asyncio.Event,
        progress: Progress,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._second = second
        self._mark = mark
        self._stop = stop
        self._progress = progress
        self._bad_hashes: set[bytes] = set()
        self._began_at = clock.monotonic()
        self.report = Scrubbed()

    async def run(self, order: ScrubOrder) -> Scrubbed:
        """Raises CollectorRefused when so much is bad that it cannot be the chunks."""
        salt = secrets.randbits(32)
        self._began_at = self._clock.monotonic()
        async with aclosing(_pages(self._catalog, order)) as pages:
            async for place, page in pages:
                chosen = [copy for copy in page if _is_sampled(copy.hash, salt, order.sample)]
                for start in range(0, len(chosen), READS_AT_ONCE_MAX):
                    await self._look_at(chosen[start : start + READS_AT_ONCE_MAX])
                    await self._keep_pace(order.rate)
                if self._stop.is_set():
                    self.report.resume = place
                    break
        self.report.hurt = await whom_it_hurts(self._catalog, self._bad_hashes)
        return self.report

    async def _look_at(self, copies: Sequence[ChunkCopy]) -> None:
        bodies = await asyncio.gather(*(self._read_verified(copy) for copy in copies))
        for copy, is_good in zip(copies, bodies, strict=True):
            self.report.chunks += 1
            self.report.bytes += copy.size
            self._progress.advance(copy.size)
            if not is_good:
                await self._settle_bad(copy)

    async def _read_verified(self, copy: ChunkCopy) -> bool:
        """A second read decides: the first may have been damaged on its way."""
        key = chunk_key(copy.hash, copy.generation)
        return await _is_good(self._store, key, copy) or await _is_good(self._store, key, copy)

    async def _settle_bad(self, copy: ChunkCopy) -> None:
        key = chunk_key(copy.hash, copy.generation)
        if not await is_stored(self._catalog, CopyName(copy.hash, copy.generation)):
            return  # released meanwhile, or somebody else has marked it
        held = await held_size(self._store, key)
        (self.report.missing if held is None else self.report.damaged).append(key)
        if self.report.bad > max(BAD_MIN, BAD_SHARE_MAX * self.report.chunks):
            raise CollectorRefused(
                f"{self.report.bad} of {self.report.chunks} chunks are bad: look at the store, the "
                "network and this host's memory before you go on"
            )
        if not self._mark:
            self._bad_hashes.add(copy.hash)
            return
        await mark_damaged(self._catalog, copy.hash, copy.generation)
        if await self._heal(copy, key):
            self.report.healed.append(key)
        else:
            self._bad_hashes.add(copy.hash)

    async def _heal(self, copy: ChunkCopy, key: str) -> bool:
        """Put good bytes of the second store under the row's own key, and read them again."""
        if self._second is None:
            return False
        body = await verified_body(self._second, key, copy.hash)
        if body is None:
            return False
        await self._store.put(key, body, crc32=checksum.crc32(body))
        return await _is_good(self._store, key, copy) and await lift_mark(self._catalog, copy)

    async def _keep_pace(self, rate: int) -> None:
        if rate:
            ahead = self.report.bytes / rate - (self._clock.monotonic() - self._began_at)
            if ahead > 0:
                await self._clock.sleep(ahead)


async def _is_good(store: ChunkStore, key: str, copy: ChunkCopy) -> bool:
    return await verified_body(store, key, copy.hash) is not None


def _is_sampled(hash_: bytes, salt: int, share: float) -> bool:
    return (int.from_bytes(hash_[-4:]) + salt) % _SAMPLED < share * _SAMPLED


async def _pages(
    catalog: Catalog, order: ScrubOrder
) -> AsyncGenerator[tuple[str, list[ChunkCopy]], None]:
    """Pages of copies, each with what to go on behind when it is done."""
    if order.since is not None:
        async with aclosing(_pages_since(catalog, order.since)) as pages:
            async for place, page in pages:
                yield place, page
        return
    after = order.after
    if not after and order.range_.prefix:
        after = just_before(order.range_.first)
    while page := await stored_copies(catalog, order.range_, after, PAGE_ROWS):
        after = page[-1].hash
        yield after.hex(), page


async def _pages_since(
    catalog: Catalog, since: datetime
) -> AsyncGenerator[tuple[str, list[ChunkCopy]], None]:
    """What the objects since then are made of; a chunk that several share comes several times."""
    after = first_id_at(since)
    while contents := await contents_after(catalog, after, OBJECTS_PAGE):
        for content in contents:
            after, start = content.id, 0
            while start < content.size:
                places = await find_chunks(
                    catalog, content.blob, start, content.size, limit=ENTRIES_PAGE
                )
                if not places:
                    break
                start = places[-1].end
                yield (
                    time_of(after).isoformat(),
                    [
                        ChunkCopy(place.hash, place.generation, place.size)
                        for place in places
                        if place.generation is not None
                    ],
                )
