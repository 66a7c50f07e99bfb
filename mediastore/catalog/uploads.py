"""Uploads and their references to chunks, in the catalog (INV-1, INV-2, INV-4, INV-8).

Each function is one transaction and one round trip; the rules are in
migrations/0002_pre_upload_functions.sql.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

import asyncpg

from mediastore.catalog.digests import (
    NO_DIGESTS,
    digest_columns,
    pack_digests,
    unpack_digests,
)
from mediastore.catalog.objects import Object, object_from_row
from mediastore.catalog.pool import Catalog
from mediastore.settings import DAY_SECONDS, ChunkingSettings

EPOCH_BITS = 62
EXPIRES_SECONDS_DEFAULT = 7 * DAY_SECONDS  # the column's
ENDED_BY_A_FLAG = frozenset({"ietf"})
"""Protocols in which clients say that an upload is complete: reaching its length is not enough."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A resumable session as its row stands. `length` is None while it is not known.

    `fragments` are its chunks as they came; `rechunked` is where its re-chunking stands, if it has
    one: chunks before that are no fragments. `concat` says what it is in a concatenation,
    "partial" or "final"; a part is `joined_into` its final.
    """

    id: UUID
    tenant: str
    owner: str
    name: str
    content_type: str
    metadata: dict[str, Any]
    protocol: str
    state: str
    offset: int
    length: int | None
    declared_hash: bytes | None
    epoch: int
    expires_at: datetime
    declared_digests: Mapping[str, bytes] = field(default_factory=dict)
    tus_metadata: str | None = None
    expires_seconds: int = EXPIRES_SECONDS_DEFAULT
    expiry_fixed: bool = False
    fragments: int = 0
    rechunked: int | None = None
    concat: str | None = None
    joined_into: UUID | None = None
    idempotency_key: str | None = None

    def pushed_expiry(self, now: datetime) -> datetime:
        """When it expires, if work is done on it now."""
        return (
            self.expires_at if self.expiry_fixed else now + timedelta(seconds=self.expires_seconds)
        )

    def with_batch(self, offset: int, chunks: int, now: datetime) -> Self:
        """As its row stands after the commit of a batch."""
        fragments, expires_at = self.fragments + chunks, self.pushed_expiry(now)
        return replace(self, offset=offset, fragments=fragments, expires_at=expires_at)

    @property
    def whole(self) -> bool:
        """Has it all its bytes, and nothing else to wait for?"""
        return self.offset == self.length and self.protocol not in ENDED_BY_A_FLAG

    @property
    def fragmented_bytes(self) -> int:
        """What its fragments hold."""
        return self.offset - (self.rechunked or 0)


@dataclass(frozen=True, slots=True)
class UploadDraft:
    """What a client says of an upload that is not in the catalog yet."""

    id: UUID
    tenant: str
    owner: str
    name: str
    content_type: str
    metadata: dict[str, Any]
    protocol: str
    length: int | None
    declared_hash: bytes | None = None
    idempotency_key: str | None = None
    declared_digests: Mapping[str, bytes] = field(default_factory=dict)
    tus_metadata: str | None = None
    expires_seconds: int = EXPIRES_SECONDS_DEFAULT
    expiry_fixed: bool = False
    concat: str | None = None


@dataclass(frozen=True, slots=True)
class IntentChunk:
    """A chunk as the intent saw its row: who has to PUT it, under which generation."""

    hash: bytes
    generation: int
    stored: bool
    damaged: bool


@dataclass(frozen=True, slots=True)
class CommitChunk:
    """A distinct chunk of a batch at its commit; `put`: this writer has stored it."""

    hash: bytes
    generation: int
    put: bool


@dataclass(frozen=True, slots=True)
class BatchChunk:
    """A chunk of a batch in order, with the generation it gets if it is new."""

    hash: bytes
    size: int
    generation: int


def new_epoch() -> int:
    return secrets.randbits(EPOCH_BITS)


def upload_from_row(row: asyncpg.Record) -> Upload:
    return Upload(
        row["id"],
        row["tenant"],
        row["owner"],
        row["name"],
        row["content_type"],
        json.loads(row["metadata"]),
        row["protocol"],
        row["state"],
        row["offset"],
        row["length"],
        row["declared_hash"],
        row["epoch"],
        row["expires_at"],
        unpack_digests(row["declared_digests"]),
        row["tus_metadata"],
        row["expires_seconds"],
        row["expiry_fixed"],
        row["fragments"],
        row["rechunked"],
        row["concat"],
        row["joined_into"],
        row["idempotency_key"],
    )


async def create_upload(
    catalog: Catalog, draft: UploadDraft, *, expires_seconds: int, writer: int | None = None
) -> Upload:
    """Write an upload's row. `writer`: the replica whose request goes on to write, if others may
    know of the upload by then.
    """
    row = await catalog.fetch_row(
        "upload_create",
        draft.id,
        draft.tenant,
        draft.owner,
        draft.name,
        draft.content_type,
        json.dumps(draft.metadata),
        draft.protocol,
        draft.length,
        draft.declared_hash,
        new_epoch(),
        expires_seconds,
        pack_digests(draft.declared_digests),
        draft.tus_metadata,
        writer,
        draft.expiry_fixed,
        draft.concat,
        draft.idempotency_key,
    )
    return upload_from_row(row)


async def get_upload(catalog: Catalog, tenant: str, id_: UUID) -> Upload | None:
    """Look at an upload without taking it over."""
    row = await catalog.fetch_row("upload_get", tenant, id_)
    return None if row is None else upload_from_row(row)


async def intend(
    catalog: Catalog, upload: Upload, chunks: Sequence[BatchChunk], *, expires_seconds: int
) -> list[IntentChunk]:
    """Reference a batch at the upload's offset; one answer for each distinct hash.

    Raises NotFound, UploadTaken, OffsetMismatch, UploadFinishing, BadLength.
    """
    rows = await catalog.fetch(
        "upload_intent",
        upload.id,
        upload.epoch,
        upload.offset,
        [chunk.hash for chunk in chunks],
        [chunk.size for chunk in chunks],
        [chunk.generation for chunk in chunks],
        expires_seconds,
    )
    return [IntentChunk(*row) for row in rows]


def commit_columns(
    chunks: Sequence[CommitChunk],
) -> tuple[list[bytes], list[int], list[bool]]:
    """Rows as the columns that a statement takes."""
    return (
        [chunk.hash for chunk in chunks],
        [chunk.generation for chunk in chunks],
        [chunk.put for chunk in chunks],
    )


async def commit(
    catalog: Catalog,
    upload: Upload,
    size: int,
    chunks: Sequence[CommitChunk],
    *,
    finishing: bool,
    expires_seconds: int,
    last: bool = False,
) -> int:
    """Acknowledge a batch of `size` bytes whose chunks are stored; the new offset. `last`: its
    request writes no more.

    Raises what `intend` raises, and ChunkChanged: intend the batch again.
    """
    offset: int = await catalog.fetch_value(
        "upload_commit_last" if last else "upload_commit",
        upload.id,
        upload.epoch,
        upload.offset,
        size,
        *commit_columns(chunks),
        finishing,
        expires_seconds,
    )
    return offset


async def commit_and_finish(
    catalog: Catalog,
    upload: Upload,
    size: int,
    chunks: Sequence[CommitChunk],
    *,
    blob: bytes,
    chunking: ChunkingSettings,
    idempotency_key: str | None,
    digests: Mapping[str, bytes] = NO_DIGESTS,
) -> Object:
    """Acknowledge the last batch, and what is staged before it, `size` bytes in all, and make the
    object, in one transaction. `digests`: of the whole content, by the algorithms declared.

    Raises what `commit` raises, BadDigest, IdempotencyKeyInUse, InvariantBroken.
    """
    row = await catalog.fetch_row(
        "verified_commit_and_finish" if digests else "upload_commit_and_finish",
        upload.id,
        upload.epoch,
        upload.offset,
        size,
        *commit_columns(chunks),
        blob,
        chunking.size_min_bytes,
        chunking.size_average_bytes,
        chunking.size_max_bytes,
        idempotency_key,
        *digest_columns(digests),
    )
    return object_from_row(row)


async def correct_content_type(catalog: Catalog, upload: Upload, content_type: str) -> None:
    """Change what an open upload is; without effect when another writer has taken it over."""
    await catalog.execute("upload_correct_type", upload.id, upload.epoch, content_type)
