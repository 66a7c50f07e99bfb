"""What a reconciliation after a restore writes in the catalog."""

from dataclasses import dataclass
from uuid import UUID

from mediastore.catalog.pool import Catalog


@dataclass(frozen=True, slots=True)
class ChunkCopy:
    """A stored copy of a chunk; `size` in bytes."""

    hash: bytes
    generation: int
    size: int


async def mark_missing(catalog: Catalog, copy: ChunkCopy) -> None:
    """Say that a copy is not to be relied on (INV-2)."""
    await catalog.execute("reconcile_mark", copy.hash, copy.generation)


async def install_incarnation(
    catalog: Catalog, incarnation: UUID, *, counter: int, instead_of: UUID
) -> bool:
    """Begin a new incarnation. False: another has been installed meanwhile."""
    row = await catalog.fetch_value("reconcile_install", incarnation, counter, instead_of)
    return row is not None
