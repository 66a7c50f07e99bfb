"""Keys in the store that no row names, and rows whose key is not there (INV-11, INV-1).

Two sorted streams are merged: a page of the listing first, then the rows of its range from the
primary. Rows are written before their bytes and go after them, so what looks superfluous in that
order is so, or has just been deleted; every suspicion is looked at once more by itself. Constant
memory. An orphan is doomed, never deleted: it waits the whole window and a recount like any key.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from mediastore.catalog.auditing import CopyName, HashRange, KeyRow, is_stored, key_rows
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.copies import held_size
from mediastore.chunkstore.protocol import ChunkStore, Entry
from mediastore_gc.listing import checked_pages
from mediastore_gc.progress import Progress

PAGE_ROWS = 1000
HEADS_AT_ONCE_MAX = 16
SHOWN_MAX = 100
Orphans = Sequence[tuple[CopyName, int]]


@dataclass(slots=True)
class KeysFound:
    """What the merge found. `missing` rows are among `stored_rows`, yet their bytes are missing or
    of another length. `stopped_behind`: where it was asked to stop; None: it came to the end.
    """

    keys: int = 0
    bytes: int = 0
    rows: int = 0
    stored_rows: int = 0
    foreign: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    missing: int = 0
    missing_bytes: int = 0
    first_orphans: list[str] = field(default_factory=list)
    first_missing: list[str] = field(default_factory=list)
    stopped_behind: CopyName | None = None


class KeyMerge:
    """One merge over one range. Used once."""

    def __init__(
        self,
        catalog: Catalog,
        store: ChunkStore,
        range_: HashRange,
        *,
        stop: asyncio.Event,
        progress: Progress,
        on_orphans: Callable[[Orphans, KeysFound], Awaitable[None]] | None = None,
        on_missing: Callable[[KeyRow], Awaitable[None]] | None = None,
        marked_too: bool = False,
    ) -> None:
        """`marked_too`: rows that are marked as damaged are looked at as stored ones are."""
        self._catalog = catalog
        self._store = store
        self._range = range_
        self._stop = stop
        self._progress = progress
        self._on_orphans = on_orphans
        self._on_missing = on_missing
        self._marked_too = marked_too
        self.found = KeysFound()

    async def run(
        self, listed: AsyncIterator[list[Entry]], after: CopyName | None = None
    ) -> KeysFound:
        """Merge `listed`, which begins behind `after`, with the rows there.

        Raises InvariantBroken when the listing is out of order, and what the callbacks raise.
        """
        after = CopyName.before(self._range) if after is None else after
        async with aclosing(checked_pages(listed)) as pages:
            async for page in pages:
                self.found.foreign += page.foreign
                if page.copies:
                    upto = page.copies[-1][0]
                    await self._merge(page.copies, after, upto)
                    after = upto
                if self._stop.is_set():
                    self.found.stopped_behind = after
                    return self.found
        await self._merge((), after, CopyName.last_of(self._range))
        return self.found

    async def _merge(self, copies: Orphans, after: CopyName, upto: CopyName) -> None:
        orphans: list[tuple[CopyName, int]] = []
        missing: list[KeyRow] = []
        rest = iter(copies)
        copy = next(rest, None)
        async with aclosing(key_rows(self._catalog, after, upto, PAGE_ROWS)) as rows:
            async for row in rows:
                self.found.rows += 1
                is_looked_at = row.state == "stored" or (
                    self._marked_too and row.state == "damaged"
                )
                self.found.stored_rows += is_looked_at
                while copy is not None and _order(copy[0]) < _order(row.name):
                    orphans.append(copy)
                    copy = next(rest, None)
                is_there = copy is not None and copy[0] == row.name
                if is_looked_at and not (is_there and copy == (row.name, row.size)):
                    missing.append(row)
                    if len(missing) == PAGE_ROWS:
                        await self._look_at_missing(missing)
                        missing = []
                if is_there:
                    copy = next(rest, None)
        while copy is not None:
            orphans.append(copy)
            copy = next(rest, None)
        self.found.keys += len(copies)
        self.found.bytes += sum(size for _, size in copies)
        await self._look_at_missing(missing)
        await self._look_at_orphans(orphans)
        self._progress.advance(len(copies))

    async def _look_at_orphans(self, suspects: Orphans) -> None:
        """Those that are still there: what a collector deletes loses its key before its row."""
        sizes = await self._sizes([name for name, _ in suspects])
        orphans = [
            (name, size)
            for (name, _), size in zip(suspects, sizes, strict=True)
            if size is not None
        ]
        if not orphans:
            return
        self.found.orphans += len(orphans)
        self.found.orphan_bytes += sum(size for _, size in orphans)
        room = SHOWN_MAX - len(self.found.first_orphans)
        self.found.first_orphans += [name.key for name, _ in orphans[:room]]
        if self._on_orphans is not None:
            await self._on_orphans(orphans, self.found)

    async def _look_at_missing(self, suspects: Sequence[KeyRow]) -> None:
        """Those whose row says still that they are stored: a row may be younger than the page, and
        may have gone since.
        """
        sizes = await self._sizes([row.name for row in suspects])
        for row, size in zip(suspects, sizes, strict=True):
            if size == row.size or not await is_stored(
                self._catalog, row.name, marked_too=self._marked_too
            ):
                continue
            self.found.missing += 1
            self.found.missing_bytes += row.size
            if len(self.found.first_missing) < SHOWN_MAX:
                self.found.first_missing.append(row.name.key)
            if self._on_missing is not None:
                await self._on_missing(row)

    async def _sizes(self, names: Sequence[CopyName]) -> list[int | None]:
        """What each key has in the store now; None: nothing."""
        sizes: dict[CopyName, int | None] = {}
        rest = iter(names)

        async def ask_for_rest() -> None:
            for name in rest:
                sizes[name] = await held_size(self._store, name.key)

        try:
            async with asyncio.TaskGroup() as heads:
                for _ in range(min(len(names), HEADS_AT_ONCE_MAX)):
                    heads.create_task(ask_for_rest())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return [sizes[name] for name in names]


def _order(name: CopyName) -> tuple[bytes, int]:
    return name.hash, name.generation
