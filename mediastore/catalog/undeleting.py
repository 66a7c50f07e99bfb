"""What undelete reads and writes beside an upload: purged objects, what removed blobs consist of.

The rules are in migrations/0015_pre_counts_and_holds.sql.
"""

import json
import struct
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from mediastore.catalog.objects import Object, object_from_row
from mediastore.catalog.pool import Catalog
from mediastore.errors import InvariantBroken

PURGED_MAX = 1000
PIECE_ENTRIES = 1000
_ENTRY = struct.Struct(">32sq")


@dataclass(frozen=True, slots=True)
class PurgedObject:
    """An object that has left the trash and is remembered while its bytes can come back."""

    id: UUID
    tenant: str
    owner: str
    name: str
    blob: bytes
    content_type: str
    size: int
    metadata: dict[str, Any]
    created_at: datetime
    deleted_at: datetime | None
    purged_at: datetime


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A removed blob; `chunks` counts every entry of its manifest."""

    id: int
    size: int
    chunks: int
    since: datetime


@dataclass(frozen=True, slots=True)
class TombstoneStanding:
    """A removed blob's distinct chunks: `there` under keys in use, `doomed` and to be copied, or
    `gone`: claimed or deleted.
    """

    there: int
    doomed: int
    gone: int


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    hash: bytes
    size: int


async def find_object(catalog: Catalog, id_: UUID) -> Object | None:
    """Any tenant's, in the trash or not."""
    row = await catalog.fetch_row("object_find", id_)
    return None if row is None else object_from_row(row)


async def find_purged(catalog: Catalog, id_: UUID) -> PurgedObject | None:
    row = await catalog.fetch_row("purged_object_find", id_)
    return None if row is None else _purged(row)


async def purged_of_blob(catalog: Catalog, blob: bytes) -> list[PurgedObject]:
    """Up to PURGED_MAX, the last purged first."""
    rows = await catalog.fetch("purged_objects_of_blob", blob, PURGED_MAX)
    return [_purged(row) for row in rows]


def _purged(row: asyncpg.Record) -> PurgedObject:
    return PurgedObject(**{**dict(row), "metadata": json.loads(row["metadata"])})


async def untrash(catalog: Catalog, id_: UUID) -> bool:
    """Take an object out of the trash, while its row is there. False: it is not in the trash."""
    return await catalog.fetch_value("object_untrash", id_) is not None


async def restore_purged(catalog: Catalog, id_: UUID) -> bool:
    """Bring an object back whose blob is there. False: it must be copied. Raises NotFound."""
    restored: bool = await catalog.fetch_value("purged_object_restore", id_)
    return restored


async def forget_purged(catalog: Catalog, id_: UUID) -> None:
    """An object was made again under its own id. Raises InvariantBroken when it was not."""
    await catalog.execute("purged_object_is_back", id_)


async def newest_tombstone(catalog: Catalog, blob: bytes) -> Tombstone | None:
    row = await catalog.fetch_row("tombstone_newest", blob)
    return None if row is None else Tombstone(**dict(row))


async def tombstone_standing(catalog: Catalog, tombstone: Tombstone) -> TombstoneStanding:
    row = await catalog.fetch_row("tombstone_standing", tombstone.id)
    if row is None:
        raise InvariantBroken("counting a removed blob's chunks gave no answer")
    return TombstoneStanding(**dict(row))


async def tombstone_entries(
    catalog: Catalog, tombstone: Tombstone
) -> AsyncGenerator[list[ManifestEntry], None]:
    """Its manifest in order, a bounded piece at a time. Raises InvariantBroken when it is short."""
    end = 0
    for first in range(0, tombstone.chunks, PIECE_ENTRIES):
        piece = await catalog.fetch_value(
            "tombstone_piece", tombstone.id, first * _ENTRY.size, PIECE_ENTRIES * _ENTRY.size
        )
        entries = []
        for hash_, ending in _ENTRY.iter_unpack(piece or b""):
            entries.append(ManifestEntry(hash_, ending - end))
            end = ending
        if len(entries) != min(PIECE_ENTRIES, tombstone.chunks - first):
            raise InvariantBroken(f"tombstone {tombstone.id} was cut short while it was read")
        yield entries


async def chunk_copies(catalog: Catalog, hashes: Sequence[bytes]) -> dict[bytes, list[int]]:
    """The generations under which each may be read, the best first."""
    copies: dict[bytes, list[int]] = {}
    for row in await catalog.fetch("chunk_copies", list(hashes)):
        copies.setdefault(row["hash"], []).append(row["generation"])
    return copies
