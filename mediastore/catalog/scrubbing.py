"""What a scrub reads from the catalog, and how it lifts a mark once the bytes are good again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from mediastore.catalog.auditing import HashRange
from mediastore.catalog.pool import Catalog


@dataclass(frozen=True, slots=True)
class ChunkCopy:
    """A stored copy of a chunk; `size` in bytes."""

    hash: bytes
    generation: int
    size: int


@dataclass(frozen=True, slots=True)
class ObjectContent:
    """An object's id and what it is made of."""

    id: UUID
    blob: bytes
    size: int


async def stored_copies(
    catalog: Catalog, range_: HashRange, after: bytes, page: int
) -> list[ChunkCopy]:
    """The next copies of the range that count as stored and undamaged, in hash order."""
    rows = await catalog.fetch("scrub_keys", after, range_.last, page)
    return [ChunkCopy(*row) for row in rows]


async def contents_after(catalog: Catalog, after: UUID, page: int) -> list[ObjectContent]:
    """The next objects, in the order in which their uploads began."""
    return [ObjectContent(*row) for row in await catalog.fetch("scrub_objects_since", after, page)]


async def lift_mark(catalog: Catalog, copy: ChunkCopy) -> bool:
    """Say that a marked copy is good again: its bytes were put back under its own key (INV-2)."""
    lifted = await catalog.fetch_value("scrub_lift", copy.hash, copy.generation)
    return lifted is not None


def first_id_at(moment: datetime) -> UUID:
    """The least UUIDv7 of `moment`."""
    return UUID(int=(int(moment.timestamp() * 1000) << 80) & ((1 << 128) - 1))


def time_of(id_: UUID) -> datetime:
    """When a UUIDv7 was made."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)
