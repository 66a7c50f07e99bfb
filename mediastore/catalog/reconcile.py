"""What a reconciliation after a restore reads and writes in the catalog."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from uuid import UUID

from mediastore.catalog.pool import Catalog


@dataclass(frozen=True, slots=True)
class ChunkCopy:
    """A stored copy of a chunk; `size` in bytes."""

    hash: bytes
    generation: int
    size: int


async def stored_chunk_pages(catalog: Catalog, page: int) -> AsyncGenerator[list[ChunkCopy], None]:
    """Every copy that counts as stored and undamaged, in key order, a page at a time."""
    after = b""
    while rows := await catalog.fetch("reconcile_chunks", after, page):
        yield [ChunkCopy(*row) for row in rows]
        after = rows[-1]["hash"]


async def mark_missing(catalog: Catalog, copy: ChunkCopy) -> None:
    """Say that a copy is not to be relied on (INV-2)."""
    await catalog.execute("reconcile_mark", copy.hash, copy.generation)


async def install_incarnation(
    catalog: Catalog, incarnation: UUID, *, counter: int, instead_of: UUID
) -> bool:
    """Begin a new incarnation. False: another has been installed meanwhile."""
    row = await catalog.fetch_value("reconcile_install", incarnation, counter, instead_of)
    return row is not None
