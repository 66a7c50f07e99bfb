"""What takes references from blobs, and blobs from the catalog: the trash, and garbage.

A blob that is counted too low is put aside, alone: the rules are in
migrations/0044_pre_blob_quarantine.sql. What takes variants is in variants.py.
"""

from dataclasses import dataclass

from mediastore.catalog.pool import Catalog
from mediastore.errors import InvariantBroken


@dataclass(frozen=True, slots=True)
class Purged:
    """One batch of the trash: objects that went, blobs that became garbage, and blobs that were put
    aside, as they are counted too low.
    """

    objects: int
    garbage_blobs: int
    put_aside: int


@dataclass(frozen=True, slots=True)
class Removed:
    """One batch of garbage, and what of it was put aside: something refers to it."""

    blobs: int
    bytes: int
    put_aside: int


async def purge_trash(catalog: Catalog, limit: int, *, trash_seconds: int | None) -> Purged:
    """Remove due trash."""
    row = await catalog.fetch_row("trash_purge", limit, trash_seconds)
    if row is None:
        raise InvariantBroken("purging the trash gave no answer")
    return Purged(**dict(row))


async def remove_garbage(catalog: Catalog, limit: int, *, revive_seconds: int) -> Removed:
    """Remove blobs past their revive delay."""
    row = await catalog.fetch_row("garbage_remove", limit, revive_seconds)
    if row is None:
        raise InvariantBroken("removing garbage gave no answer")
    return Removed(**dict(row))


async def blobs_put_aside(catalog: Catalog) -> int:
    """Blobs that are counted too low, of which nothing is collected."""
    count: int = await catalog.fetch_value("blobs_put_aside")
    return count
