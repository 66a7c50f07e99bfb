"""All counts and all references in one snapshot: what INV-4 says of them holds there exactly.

However busy the service is, nothing in flight looks like an error; the price is a snapshot that is
open as long as a dump's. Every reader can be asked again, for a second look at the same moment.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from mediastore.catalog.auditing import HashRange
from mediastore.catalog.pool import Catalog
from mediastore.catalog.recount import INLINE_BYTES, PREFETCHED_ROWS, ListPiece, list_pieces


@dataclass(frozen=True, slots=True)
class ChunkCount:
    """A chunk row and its count of references."""

    hash: bytes
    generation: int
    refs: int
    stored: bool


class CountingSnapshot:
    """Reads of one moment, a page at a time."""

    def __init__(
        self, catalog: Catalog, connection: "asyncpg.Connection[Any]", page_entries: int
    ) -> None:
        self._catalog = catalog
        self._connection = connection
        self._page = page_entries

    async def chunks(self, range_: HashRange) -> AsyncGenerator[list[ChunkCount], None]:
        """Every chunk row of a range."""
        cursor = await self._connection.cursor(
            self._catalog.statement("audit_chunks"), range_.first, range_.last
        )
        while rows := await cursor.fetch(self._page):
            yield [ChunkCount(*row) for row in rows]

    async def upload_chunks(self, range_: HashRange) -> AsyncGenerator[list[bytes], None]:
        """The hashes of a range that uploads name, as often as they name them."""
        cursor = await self._connection.cursor(
            self._catalog.statement("audit_upload_chunks"), range_.first, range_.last
        )
        while rows := await cursor.fetch(self._page):
            yield [row["hash"] for row in rows]

    async def lists(self) -> AsyncGenerator[ListPiece, None]:
        """Every manifest, then what is left of every list of unlinking, in pieces."""
        async with aclosing(self._lists("manifest", "audit_manifests", "hash")) as pieces:
            async for piece in pieces:
                yield piece
        async with aclosing(self._lists("unlinking", "audit_unlinking", "id")) as pieces:
            async for piece in pieces:
                yield piece

    async def _lists(self, kind: str, query: str, key: str) -> AsyncGenerator[ListPiece, None]:
        rows = self._connection.cursor(
            self._catalog.statement(query), INLINE_BYTES, prefetch=PREFETCHED_ROWS
        )
        async for row in rows:
            found = dict(row)
            name = found[key].hex() if isinstance(found[key], bytes) else found[key]
            pieces = list_pieces(
                self._connection,
                self._catalog.statement(f"recount_{kind}_piece"),
                found[key],
                (f"{kind} {name}", found.get("size"), found["length"]),
                found.get("start", 0),
                found["entries"],
                self._page,
            )
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece


@asynccontextmanager
async def counting_snapshot(catalog: Catalog, page_entries: int) -> AsyncIterator[CountingSnapshot]:
    """Opens the snapshot; it ends with the block."""
    async with (
        catalog.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute("SET LOCAL statement_timeout = 0")
        yield CountingSnapshot(catalog, connection, page_entries)
