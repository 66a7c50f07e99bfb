"""Reading every reference there is, for the recount of INV-7.

In bounded pieces, each read consistent.

Order matters and is the caller's duty: upload_chunks in one snapshot, then manifests in blob order,
then unlinking, because references only move that way. Nothing here judges what it reads.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from mediastore.catalog.pool import Catalog
from mediastore.collector_errors import RecountFailed

ENTRY_BYTES = 40
# Lists up to this long come along with their row; longer ones are read with substr().
INLINE_BYTES = 200 * ENTRY_BYTES
PREFETCHED_ROWS = 100


@dataclass(frozen=True, slots=True)
class RecountStart:
    """A pass that has been recorded, and is not finished. All of it reads one server, the one that
    started at `server_started_at`.
    """

    id: int
    started_at: datetime
    server_started_at: datetime


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a pass must at least meet."""

    manifests: int
    has_chunks: bool


@dataclass(frozen=True, slots=True)
class RecountRecord:
    """A finished pass. `hashes_seen` are doomed hashes that it met references to."""

    id: int
    started_at: datetime
    finished_at: datetime
    references_read: int
    manifests_read: int
    hashes_seen: int


@dataclass(frozen=True, slots=True)
class ListPiece:
    """Part of a manifest or of an unlinking list.

    `length` is the whole list's, None: there is no list.

    `size` is the blob's (None for unlinking), `start` where this piece begins in the list, in
    bytes.
    """

    name: str
    size: int | None
    length: int | None
    start: int
    entries: bytes


async def start_recount(catalog: Catalog, incarnation: UUID) -> RecountStart | None:
    """Record a pass with its snapshot, committed. None: the database has another incarnation."""
    row = await catalog.fetch_row("recount_start", incarnation)
    return None if row is None else RecountStart(**dict(row))


async def expect(catalog: Catalog) -> Expectation:
    row = await catalog.fetch_row("recount_expectation")
    if row is None:
        raise RecountFailed("the database does not say what there is to count")
    return Expectation(**dict(row))


async def last_unlinking(catalog: Catalog) -> int:
    """The newest list's id: later ones hold references that were met where they came from."""
    last: int = await catalog.fetch_value("recount_unlinking_last")
    return last


async def removed_since(catalog: Catalog, moment: datetime) -> int:
    """At least as many blobs as were removed since `moment`."""
    removed: int = await catalog.fetch_value("recount_removed_since", moment)
    return removed


async def doomed_count(catalog: Catalog) -> int:
    count: int = await catalog.fetch_value("recount_doomed_count")
    return count


async def keep(catalog: Catalog, recount: int, hashes: Sequence[bytes]) -> int:
    """Record those of `hashes` that are doomed as met by this pass; how many were new."""
    kept: int = await catalog.fetch_value("recount_keep", recount, hashes)
    return kept


async def finish_recount(
    catalog: Catalog, start: RecountStart, *, references_read: int, manifests_read: int
) -> bool:
    """Record that the pass is complete.

    False: it is not there any more, not of this incarnation, or the server is another one.
    """
    row = await catalog.fetch_value(
        "recount_finish", start.id, references_read, manifests_read, start.server_started_at
    )
    return row is not None


async def last_recount(catalog: Catalog) -> RecountRecord | None:
    row = await catalog.fetch_row("recount_last")
    return None if row is None else RecountRecord(**dict(row))


async def doomed_pages(catalog: Catalog, page: int) -> AsyncGenerator[list[bytes], None]:
    """Hashes of every doomed key, in one snapshot."""
    async with _snapshot(catalog) as connection:
        cursor = await connection.cursor(catalog.statement("recount_doomed"))
        while rows := await cursor.fetch(page):
            yield [row["hash"] for row in rows]


async def upload_chunk_pages(
    catalog: Catalog, page: int
) -> AsyncGenerator[tuple[int, list[bytes]], None]:
    """Every upload's references in one snapshot.

    How many there are in all, and the next page of hashes.
    """
    async with _snapshot(catalog) as connection:
        total = await connection.fetchval(catalog.statement("recount_upload_chunks_count"))
        cursor = await connection.cursor(catalog.statement("recount_upload_chunks"))
        yield total, []
        while rows := await cursor.fetch(page):
            yield total, [row["hash"] for row in rows]


def unlinking_pieces(
    catalog: Catalog, *, up_to_id: int, page_entries: int
) -> AsyncGenerator[ListPiece, None]:
    """Entries at and past the cursor of every list up to `up_to_id`, by short snapshots."""
    return _lists(catalog, "recount_unlinking", "id", 0, (up_to_id, INLINE_BYTES), page_entries)


def manifest_pieces(catalog: Catalog, *, page_entries: int) -> AsyncGenerator[ListPiece, None]:
    """Every blob's manifest in blob order, by short snapshots; each manifest within one of them."""
    return _lists(catalog, "recount_manifest", "hash", b"", (INLINE_BYTES,), page_entries)


def tombstone_pieces(
    catalog: Catalog, *, window_seconds: int, page_entries: int
) -> AsyncGenerator[ListPiece, None]:
    """What blobs were made of that were removed within the window and not erased; by short
    snapshots.
    """
    return _lists(
        catalog, "recount_tombstone", "id", 0, (INLINE_BYTES, window_seconds), page_entries
    )


async def any_erased(catalog: Catalog) -> bool:
    """Is any key marked to go before its window?"""
    found: bool = await catalog.fetch_value("recount_erased")
    return found


async def spare(catalog: Catalog, hashes: Sequence[bytes]) -> int:
    """Let erased keys of these hashes wait for their window; how many."""
    spared: int = await catalog.fetch_value("recount_spare", hashes)
    return spared


async def _lists(
    catalog: Catalog,
    queries: str,
    key: str,
    after: int | bytes,
    arguments: tuple[int, ...],
    page_entries: int,
) -> AsyncGenerator[ListPiece, None]:
    """Lists in order of their key, as many in a snapshot as make a page."""
    kind = queries.removeprefix("recount_")
    while True:
        budget = page_entries
        met = False
        async with _snapshot(catalog) as connection:
            statement = catalog.statement(f"{queries}_lists")
            async for row in connection.cursor(
                statement, after, *arguments, prefetch=PREFETCHED_ROWS
            ):
                met, after = True, row[key]
                name = after.hex() if isinstance(after, bytes) else after
                async for piece in list_pieces(
                    connection,
                    catalog.statement(f"{queries}_piece"),
                    after,
                    (f"{kind} {name}", row["size"], row["length"]),
                    row["start"],
                    row["entries"],
                    page_entries,
                ):
                    budget -= max(1, len(piece.entries) // ENTRY_BYTES)
                    yield piece
                if budget <= 0:
                    break
        if not met:
            return


async def list_pieces(
    connection: "asyncpg.Connection[Any]",
    statement: str,
    key: object,
    head: tuple[str, int | None, int | None],
    start: int,
    inline: bytes | None,
    page_entries: int,
) -> AsyncGenerator[ListPiece, None]:
    """One list in pieces.

    A list that is missing, empty or short is one piece. Short reads show as they are.
    """
    length = head[2]
    if inline is not None or length is None:
        yield ListPiece(*head, start, inline or b"")
        return
    while start < length:
        entries = await connection.fetchval(statement, key, start, page_entries * ENTRY_BYTES)
        yield ListPiece(*head, start, entries or b"")
        if not entries:
            return
        start += len(entries)


@asynccontextmanager
async def _snapshot(catalog: Catalog) -> AsyncIterator["asyncpg.Connection[Any]"]:
    async with (
        catalog.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield connection
