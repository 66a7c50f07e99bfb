"""What a read asks of the catalog: is it allowed (INV-10), where are the bytes, and marking bad
ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from mediastore.catalog.pool import Catalog


@dataclass(frozen=True, slots=True)
class ReadableContent:
    """What a live object lets its tenant read. `name` is None when a blob was asked for: its oldest
    live object speaks then, but for the name.
    """

    tenant: str
    id: UUID
    owner: str
    blob: bytes
    size: int
    content_type: str
    name: str | None
    created_at: datetime
    public: bool
    digests: Mapping[str, bytes] = field(default_factory=dict)
    """Of the whole content, by the names of RFC 9530, as far as its uploads have declared them."""
    cors_origins: tuple[str, ...] | None = None
    """The tenant's own, where its policy has them."""
    source: bytes | None = None
    """Of a variant: what it was made of, whose purge means the variant too."""


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """A chunk's place in a blob, bytes `start` to `end` (not included), and the key of its copy.

    `generation` is None when the catalog holds no stored copy of it.
    """

    hash: bytes
    start: int
    end: int
    generation: int | None

    @property
    def size(self) -> int:
        return self.end - self.start


async def find_readable_object(catalog: Catalog, tenant: str, id_: UUID) -> ReadableContent | None:
    """What the tenant's live object gives to read; None when there is none."""
    row = await catalog.fetch_row("readable_object", tenant, id_)
    return None if row is None else _readable_content(tenant, row)


async def find_readable_blob(catalog: Catalog, tenant: str, blob: bytes) -> ReadableContent | None:
    """What the blob gives to read if a live object of the tenant points at it, else None."""
    row = await catalog.fetch_row("readable_blob", tenant, blob)
    return None if row is None else _readable_content(tenant, row)


def _readable_content(tenant: str, row: asyncpg.Record) -> ReadableContent:
    digests = {"sha-256": row["sha_256"], "sha-512": row["sha_512"]}
    origins = row["cors_origins"]
    return ReadableContent(
        tenant=tenant,
        id=row["id"],
        owner=row["owner"],
        blob=row["blob"],
        size=row["size"],
        content_type=row["content_type"],
        name=row["name"],
        created_at=row["created_at"],
        public=row["public"],
        digests={name: digest for name, digest in digests.items() if digest is not None},
        cors_origins=None if origins is None else tuple(json.loads(origins)),
    )


async def find_chunks(
    catalog: Catalog, blob: bytes, start: int, end: int, *, limit: int
) -> list[ChunkPlace]:
    """The first `limit` chunks that hold any of the blob's bytes `start` to `end` (not included).

    One statement, so manifest and generations are of one moment. Empty when there is no manifest.
    """
    rows = await catalog.fetch("blob_read", blob, start, end, limit)
    return [
        ChunkPlace(
            row["hash"],
            row["beginning"],
            row["ending"],
            row["generation"] if row["stored"] else None,
        )
        for row in rows
    ]


async def mark_damaged(catalog: Catalog, hash_: bytes, generation: int) -> bool:
    """Mark this copy, and no other: it is no dedup hit any more. False if it was marked already."""
    return await catalog.fetch_value("chunk_mark_damaged", hash_, generation) is not None
