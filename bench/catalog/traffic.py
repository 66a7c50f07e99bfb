"""Uploads as the service makes them, on a filled catalog: their WAL, their updates of chunks."""

import asyncio
import os
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import asyncpg
from uuid_utils.compat import uuid7

from bench.catalog.filling import TENANT
from mediastore.catalog.dropping import terminate_upload
from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import (
    BatchChunk,
    CommitChunk,
    IntentChunk,
    Upload,
    UploadDraft,
    commit,
    commit_and_finish,
    create_upload,
    intend,
)
from mediastore.catalog.whole_body import begin_body
from mediastore.chunkstore.keys import new_generation
from mediastore.settings import ChunkingSettings

EXPIRES_SECONDS = 7 * 24 * 3600
CHUNKING = ChunkingSettings()
SMALL_BYTES = 1_000_000
CHUNK_BYTES = SMALL_BYTES  # the size of the known chunks that uploads share
BATCH_CHUNKS = 4
LARGE_BATCHES = 4
SHARED_EVERY = 4  # one chunk in so many is one that is stored already
ABANDONED_EVERY = 8  # one upload in so many is given up, and its references are released
RELEASE_ENTRIES = 1000
_WAL_POSITION = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
_UPDATES = """
SELECT n_tup_upd, n_tup_hot_upd,
       pg_table_size(relid)::float8 / (SELECT count(*) FROM chunks) AS bytes_per_row
FROM pg_stat_user_tables WHERE relname = 'chunks'
"""
STATISTICS_SECONDS = 1.0  # for ended sessions' counts to arrive


@dataclass(frozen=True, slots=True)
class Updates:
    """What happened to rows of chunks, and the room the table takes."""

    updated: int
    hot: int
    bytes_per_row: float

    @property
    def hot_share(self) -> float:
        return self.hot / self.updated


def draft_of(length: int) -> UploadDraft:
    return UploadDraft(
        id=uuid7(),
        tenant=TENANT,
        owner=f"user-{secrets.randbelow(10**6)}",
        name="IMG_2041.jpg",
        content_type="image/jpeg",
        metadata={"album": "holiday 7", "device": "phone 12"},
        protocol="tus",
        length=length,
    )


def _chunk(hash_: bytes, size: int) -> BatchChunk:
    return BatchChunk(hash_, size, new_generation())


def _committed(intended: list[IntentChunk]) -> list[CommitChunk]:
    return [CommitChunk(seen.hash, seen.generation, not seen.stored) for seen in intended]


async def small(catalog: Catalog, blob: bytes) -> Object:
    """A body of one chunk: two transactions when it is new, one when its blob is there."""
    draft = draft_of(SMALL_BYTES)
    begun = await begin_body(
        catalog,
        draft,
        epoch=1,
        blob=blob,
        size=SMALL_BYTES,
        chunks=[_chunk(blob, SMALL_BYTES)],
        expires_seconds=EXPIRES_SECONDS,
    )
    if isinstance(begun, Object):
        return begun
    upload = Upload(
        draft.id,
        draft.tenant,
        draft.owner,
        draft.name,
        draft.content_type,
        draft.metadata,
        draft.protocol,
        "open",
        0,
        draft.length,
        None,
        1,
        datetime.now(UTC),
    )
    return await commit_and_finish(
        catalog,
        upload,
        SMALL_BYTES,
        _committed(begun),
        blob=blob,
        chunking=CHUNKING,
        idempotency_key=None,
    )


async def large(catalog: Catalog, batches: list[list[bytes]], *, abandoned: bool = False) -> None:
    """An upload of several batches of chunks; `abandoned`: given up after its last intent."""
    size = sum(map(len, batches)) * CHUNK_BYTES
    upload = await create_upload(catalog, draft_of(size), expires_seconds=EXPIRES_SECONDS)
    for hashes in batches:
        last = hashes is batches[-1]
        batch = [_chunk(hash_, CHUNK_BYTES) for hash_ in hashes]
        intended = await intend(catalog, upload, batch, expires_seconds=EXPIRES_SECONDS)
        if last and abandoned:
            await terminate_upload(catalog, TENANT, upload.id)
        elif last:
            await commit_and_finish(
                catalog,
                upload,
                len(batch) * CHUNK_BYTES,
                _committed(intended),
                blob=os.urandom(32),
                chunking=CHUNKING,
                idempotency_key=None,
            )
        else:
            offset = await commit(
                catalog,
                upload,
                len(batch) * CHUNK_BYTES,
                _committed(intended),
                finishing=False,
                expires_seconds=EXPIRES_SECONDS,
            )
            upload = replace(upload, offset=offset)


async def wal_bytes(
    connection: asyncpg.Connection, upload: Callable[[], Awaitable[object]], *, count: int
) -> float:
    """WAL of one of `count` uploads in a row."""
    for _ in range(3):
        await upload()
    before = await connection.fetchval(_WAL_POSITION)
    for _ in range(count):
        await upload()
    return float(await connection.fetchval(_WAL_POSITION) - before) / count


async def mix(
    catalog: Catalog, connection: asyncpg.Connection, known: list[bytes], *, count: int
) -> None:
    """Uploads: some chunks are known already, some uploads are given up and released."""
    chance = random.Random(7)
    await asyncio.sleep(STATISTICS_SECONDS)
    await connection.execute("SELECT pg_stat_reset()")
    for number in range(count):
        batches = [
            [
                chance.choice(known) if chance.randrange(SHARED_EVERY) == 0 else os.urandom(32)
                for _ in range(BATCH_CHUNKS)
            ]
            for _ in range(LARGE_BATCHES)
        ]
        await large(catalog, batches, abandoned=number % ABANDONED_EVERY == 0)
        if number % (4 * ABANDONED_EVERY) == 0:
            await catalog.fetch("references_release", RELEASE_ENTRIES)


async def updates(connection: asyncpg.Connection) -> Updates:
    """What `mix` did, once its sessions have ended: a session reports the last of it then."""
    await asyncio.sleep(STATISTICS_SECONDS)
    row = await connection.fetchrow(_UPDATES)
    return Updates(row["n_tup_upd"], row["n_tup_hot_upd"], row["bytes_per_row"])
