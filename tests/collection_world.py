"""A catalog and a store with a clock that tests move, and the few things users do to them."""

import asyncio
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from blake3 import blake3
from uuid_utils.compat import uuid7

from mediastore.catalog.objects import Object, trash_object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import (
    BatchChunk,
    CommitChunk,
    IntentChunk,
    Upload,
    UploadDraft,
    commit_and_finish,
    create_upload,
    intend,
    new_epoch,
)
from mediastore.catalog.whole_body import begin_body
from mediastore.chunkstore.keys import chunk_key, new_generation
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.errors import ChunkChanged
from mediastore.settings import ChunkingSettings

TENANT = "acme"
START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = 86_400
OTHER_TESTS_MAX_SECONDS = 120
CHUNKING = ChunkingSettings()


class MovedClock:
    """Python's clock and the database's `catalog_clock()`, moved together by `advance`."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection
        self._elapsed = 0.0

    async def install(self) -> None:
        """Replace the database's clock. Rows that already carry a time are set back to START."""
        await self._connection.execute(
            "CREATE TABLE moved_clock (now timestamptz NOT NULL);"
            "CREATE OR REPLACE FUNCTION catalog_clock() RETURNS timestamptz LANGUAGE sql VOLATILE "
            "AS 'SELECT now FROM moved_clock'"
        )
        await self._connection.execute("INSERT INTO moved_clock VALUES ($1)", START)
        await self._connection.execute("UPDATE gc_state SET clock_high = $1", START)

    async def advance(self, seconds: float) -> None:
        self._elapsed += seconds
        await self.set_database(self.now())

    async def set_database(self, moment: datetime) -> None:
        """Move the database's clock alone."""
        await self._connection.execute("UPDATE moved_clock SET now = $1", moment)

    def monotonic(self) -> float:
        return self._elapsed

    def now(self) -> datetime:
        return START + timedelta(seconds=self._elapsed)

    async def sleep(self, seconds: float) -> None:
        await self.advance(seconds)


@dataclass(slots=True)
class World:
    """What a test works with. `files` are objects that must read back, by id."""

    catalog: Catalog
    store: ChunkStore
    clock: MovedClock
    sql: "asyncpg.Connection[Any]"
    files: dict[UUID, bytes] = field(default_factory=dict)

    async def put(self, chunks: Sequence[bytes]) -> Object:
        """An object of these chunks, as a one-request upload stores it."""
        made = await store_file(self.catalog, self.store, chunks)
        self.files[made.id] = b"".join(chunks)
        return made

    async def trash(self, made: Object) -> None:
        assert await trash_object(self.catalog, TENANT, made.id) is not None
        self.files.pop(made.id)

    async def read(self, blob: bytes) -> bytes:
        """A blob's bytes, by its manifest and the chunk rows as they are now."""
        entries = await self.sql.fetchval("SELECT entries FROM manifests WHERE blob = $1", blob)
        parts = []
        for at in range(0, len(entries), 40):
            hash_ = entries[at : at + 32]
            row = await self.sql.fetchrow("SELECT * FROM chunks WHERE hash = $1", hash_)
            assert row is not None, "a manifest names a chunk without a row"
            assert row["stored"]
            body = await self.store.get(chunk_key(hash_, row["generation"]))
            assert blake3(body).digest() == hash_
            parts.append(body)
        return b"".join(parts)

    async def assert_files_read_back(self) -> None:
        for id_, content in self.files.items():
            blob = await self.sql.fetchval("SELECT blob FROM objects WHERE id = $1", id_)
            assert await self.read(blob) == content

    async def keys(self) -> set[str]:
        """Every chunk key in the store."""
        return {entry.key async for page in self.store.list(prefix="chunks/") for entry in page}

    async def older_transactions_end(self) -> None:
        """Erasures wait for what was open when they were asked for: on this server, where other
        tests may have it open in databases of their own.
        """
        async with asyncio.timeout(OTHER_TESTS_MAX_SECONDS):
            while True:
                waits = await self.sql.fetchval(
                    "SELECT EXISTS (SELECT 1 FROM erasures WHERE removed_at IS NULL "
                    "AND transaction >= pg_snapshot_xmin(pg_current_snapshot()))"
                )
                if not waits:
                    return
                await asyncio.sleep(0.05)

    async def count(self, table: str) -> int:
        counted: int = await self.sql.fetchval(f"SELECT count(*) FROM {table}")
        return counted


def draft(length: int | None) -> UploadDraft:
    return UploadDraft(uuid7(), TENANT, "someone", "file", "a/b", {}, "raw", length)


def noise(seed: object, size: int = 64) -> bytes:
    return random.Random(repr(seed)).randbytes(size)


async def store_file(catalog: Catalog, store: ChunkStore, chunks: Sequence[bytes]) -> Object:
    """Intent, PUTs, commit and finish, each an await of its own; again when chunks changed."""
    whole = b"".join(chunks)
    blob = blake3(whole).digest()
    planned = draft(len(whole))
    bodies = {blake3(chunk).digest(): chunk for chunk in chunks}

    epoch = new_epoch()

    def rows() -> list[BatchChunk]:
        return [BatchChunk(blake3(c).digest(), len(c), new_generation()) for c in chunks]

    begun = await begin_body(
        catalog,
        planned,
        epoch=epoch,
        blob=blob,
        size=len(whole),
        chunks=rows(),
        expires_seconds=DAY,
    )
    if isinstance(begun, Object):
        return begun
    upload = born(planned, epoch, len(whole))
    for _ in range(10):
        committed = await put_missing(store, bodies, begun)
        try:
            return await commit_and_finish(
                catalog,
                upload,
                len(whole),
                committed,
                blob=blob,
                chunking=CHUNKING,
                idempotency_key=None,
            )
        except ChunkChanged:
            begun = await intend(catalog, upload, rows(), expires_seconds=DAY)
    raise AssertionError("the chunks changed ten times")


def born(planned: UploadDraft, epoch: int, length: int) -> Upload:
    """The upload that `begin_body` has opened."""
    return Upload(
        planned.id,
        planned.tenant,
        planned.owner,
        planned.name,
        planned.content_type,
        planned.metadata,
        planned.protocol,
        "open",
        0,
        length,
        None,
        epoch,
        START,
    )


async def put_missing(
    store: ChunkStore, bodies: dict[bytes, bytes], intended: Sequence[IntentChunk]
) -> list[CommitChunk]:
    committed = []
    for chunk in intended:
        put = not chunk.stored or chunk.damaged
        if put:
            body = bodies[chunk.hash]
            key = chunk_key(chunk.hash, chunk.generation)
            await store.put(key, body, crc32=zlib.crc32(body))
        committed.append(CommitChunk(chunk.hash, chunk.generation, put))
    return committed


async def leave_upload(world: World, chunks: Sequence[bytes]) -> UUID:
    """An upload that has its intent and its PUTs, and goes no further."""
    upload = await create_upload(world.catalog, draft(None), expires_seconds=DAY)
    rows = [BatchChunk(blake3(c).digest(), len(c), new_generation()) for c in chunks]
    intended = await intend(world.catalog, upload, rows, expires_seconds=DAY)
    await put_missing(world.store, {blake3(c).digest(): c for c in chunks}, intended)
    return upload.id
