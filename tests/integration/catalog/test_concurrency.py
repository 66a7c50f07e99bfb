"""Everything that changes references, at once, from many connections, on overlapping content.

The store is a set of keys here: what matters is what the catalog believes of it. Afterwards every
reference is counted again (INV-4), and what was promised on the way is compared with what is there.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from blake3 import blake3
from uuid_utils.compat import uuid7

from mediastore.catalog.bodies import Body, begin_bodies, finish_bodies
from mediastore.catalog.objects import Object, restore_object, trash_object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.taking import take_upload
from mediastore.catalog.tenants import create_tenant
from mediastore.catalog.uploads import (
    BatchChunk,
    CommitChunk,
    IntentChunk,
    Upload,
    UploadDraft,
    commit,
    commit_and_finish,
    create_upload,
    get_upload,
    intend,
    new_epoch,
    terminate_upload,
)
from mediastore.catalog.whole_body import begin_body
from mediastore.chunkstore.keys import new_generation
from mediastore.errors import ChunkChanged, Conflict, NotFound
from mediastore.settings import ChunkingSettings
from tests.integration.catalog.conftest import OpenCatalog
from tests.recount_exact import assert_references_exact

TENANT = "acme"
LETTERS = [bytes([letter]) * (letter - 90) for letter in range(97, 105)]
FILES = [Random(n).choices(LETTERS, k=n % 7) for n in range(12)]
CHUNKING = ChunkingSettings()
WORKERS = 12
STEPS = 60


class Abandoned(Exception):
    """This writer was killed."""


@dataclass
class World:
    """What all workers share."""

    catalog: Catalog
    put: set[tuple[bytes, int]] = field(default_factory=set)
    contents: dict[UUID, list[bytes]] = field(default_factory=dict)
    open: set[UUID] = field(default_factory=set)
    acknowledged: dict[UUID, int] = field(default_factory=dict)
    objects: list[UUID] = field(default_factory=list)
    finished: int = 0

    def store(self, intended: list[IntentChunk]) -> list[CommitChunk]:
        """PUT what is missing."""
        missing = [chunk for chunk in intended if not chunk.stored or chunk.damaged]
        self.put |= {(chunk.hash, chunk.generation) for chunk in missing}
        return [CommitChunk(c.hash, c.generation, c in missing) for c in intended]

    def made(self, item: Object) -> None:
        self.objects.append(item.id)
        self.finished += 1


@dataclass
class Worker:
    """One client after another, some of which are killed in the middle."""

    world: World
    random: Random

    async def run(self) -> None:
        steps = [
            (self.whole_body, 4),
            (self.group, 4),
            (self.begin_upload, 4),
            (self.take_over, 6),
            (self.terminate, 1),
            (self.expire, 1),
            (self.trash, 4),
            (self.restore, 1),
            (self.damage, 4),
            (self.collect, 5),
        ]
        for _ in range(STEPS):
            [step] = self.random.choices(*zip(*steps, strict=True))
            try:
                await step()
            except (Abandoned, NotFound, Conflict):
                continue

    def content(self) -> list[bytes]:
        """One of few blobs, as chunks. Pairs are sometimes one: a blob then has other manifests."""
        letters = self.random.choice(FILES)
        chunks: list[bytes] = []
        for letter in letters:
            if chunks and self.random.random() < 0.2:
                chunks[-1] += letter
            else:
                chunks.append(letter)
        return chunks

    def maybe_killed(self) -> None:
        if self.random.random() < 0.15:
            raise Abandoned

    async def whole_body(self) -> None:
        world, chunks = self.world, self.content()
        size, blob = sum(map(len, chunks)), name(*chunks)
        draft, epoch = self.draft(size), new_epoch()
        world.contents[draft.id] = chunks
        begun = await begin_body(
            world.catalog,
            draft,
            epoch=epoch,
            blob=blob,
            size=size,
            chunks=rows(chunks),
            expires_seconds=3600,
        )
        if isinstance(begun, Object):
            return world.made(begun)
        self.maybe_killed()
        world.open.add(draft.id)
        # Another worker may take the upload before this row is read: the epoch stays this writer's.
        upload = replace(await self.row(draft.id), epoch=epoch)
        stored = world.store(begun)
        self.maybe_killed()
        while True:
            try:
                return world.made(await self.finish(upload, size, stored))
            except ChunkChanged:
                again = await intend(world.catalog, upload, rows(chunks), expires_seconds=3600)
                stored = world.store(again)

    async def group(self) -> None:
        """Bodies of one chunk each, several of them equal, some empty."""
        world = self.world
        contents = self.random.choices([b"", *LETTERS], k=self.random.randint(2, 8))
        bodies = [Body(self.draft(len(data)), name(data), len(data)) for data in contents]
        for body, data in zip(bodies, contents, strict=True):
            world.contents[body.draft.id] = [data]
        upload = self.group_upload(sum(map(len, contents)))
        begun = await begin_bodies(
            world.catalog,
            upload,
            bodies,
            [new_generation() for _ in bodies],
            expires_seconds=3600,
        )
        for item in begun.linked.values():
            world.made(item)
        rest = [body for body in bodies if body.draft.id not in begun.linked]
        if not rest:
            return
        self.maybe_killed()
        stored = world.store(begun.chunks)
        self.maybe_killed()
        chunks = [data for data in (world.contents[body.draft.id][0] for body in rest) if data]
        while True:
            try:
                made = await finish_bodies(world.catalog, upload, rest, stored, CHUNKING)
            except ChunkChanged:
                again = await intend(world.catalog, upload, rows(chunks), expires_seconds=3600)
                stored = world.store(again)
            else:
                assert made.keys() == {body.draft.id for body in rest}
                for item in made.values():
                    world.made(item)
                return

    def group_upload(self, size: int) -> Upload:
        return Upload(
            id=uuid7(),
            tenant=TENANT,
            owner="",
            name="",
            content_type="x/y",
            metadata={},
            protocol="form",
            state="open",
            offset=0,
            length=size,
            declared_hash=None,
            epoch=new_epoch(),
            expires_at=datetime.now(UTC),
        )

    async def begin_upload(self) -> None:
        chunks = self.content()
        draft = self.draft(sum(map(len, chunks)))
        self.world.contents[draft.id] = chunks
        self.world.open.add(draft.id)
        upload = await create_upload(self.world.catalog, draft, expires_seconds=3600)
        await self.append(upload)

    async def take_over(self) -> None:
        if not self.world.open:
            return
        id_ = self.random.choice(sorted(self.world.open))
        promised = self.world.acknowledged.get(id_, 0)
        taken = await take_upload(self.world.catalog, TENANT, id_)
        if taken is None:
            self.world.open.discard(id_)
            return
        assert taken.upload.offset >= promised, "INV-1: an acknowledged byte is not there"
        await self.append(taken.upload)

    async def append(self, upload: Upload) -> None:
        """Batches until the upload is whole, or this writer is killed or loses it."""
        world, chunks = self.world, list(self.world.contents[upload.id])
        at = 0
        while chunks and at < upload.offset:
            at += len(chunks.pop(0))
        while True:
            batch = chunks[: self.random.randint(1, 3)]
            chunks = chunks[len(batch) :]
            size = sum(map(len, batch))
            self.maybe_killed()
            stored: list[CommitChunk] = []
            if batch:
                stored = world.store(
                    await intend(world.catalog, upload, rows(batch), expires_seconds=3600)
                )
            self.maybe_killed()
            if not chunks:
                return world.made(await self.finish(upload, size, stored))
            offset = await commit(
                world.catalog, upload, size, stored, finishing=False, expires_seconds=3600
            )
            before = world.acknowledged.get(upload.id, 0)
            world.acknowledged[upload.id] = max(before, offset)
            upload = await self.row(upload.id, upload)

    async def finish(self, upload: Upload, size: int, stored: list[CommitChunk]) -> Object:
        return await commit_and_finish(
            self.world.catalog,
            upload,
            size,
            stored,
            blob=name(*self.world.contents[upload.id]),
            chunking=CHUNKING,
            idempotency_key=None,
        )

    async def row(self, id_: UUID, mine: Upload | None = None) -> Upload:
        """The upload as it stands, with the epoch that this writer holds."""
        found = await get_upload(self.world.catalog, TENANT, id_)
        if found is None:
            raise NotFound
        return found if mine is None else replace(found, epoch=mine.epoch)

    async def terminate(self) -> None:
        if self.world.open:
            id_ = self.random.choice(sorted(self.world.open))
            await terminate_upload(self.world.catalog, TENANT, id_)

    async def expire(self) -> None:
        async with self.world.catalog.connection() as connection:
            await connection.execute(
                "UPDATE uploads SET expires_at = catalog_clock() WHERE id = "
                "(SELECT id FROM uploads ORDER BY md5(id::text || $1) LIMIT 1)",
                str(self.random.random()),
            )
        await self.world.catalog.fetch("uploads_expire", 2)

    async def trash(self) -> None:
        if self.world.objects:
            id_ = self.world.objects[self.random.randrange(len(self.world.objects))]
            await trash_object(self.world.catalog, TENANT, id_)

    async def restore(self) -> None:
        if self.world.objects:
            id_ = self.world.objects[self.random.randrange(len(self.world.objects))]
            await restore_object(self.world.catalog, TENANT, id_)

    async def damage(self) -> None:
        """A copy is found bad: the next upload of its bytes overwrites it in place."""
        async with self.world.catalog.connection() as connection:
            stored = await connection.fetch("SELECT hash, generation FROM chunks WHERE stored")
        if stored:
            await self.world.catalog.fetch("chunk_mark_damaged", *self.random.choice(stored))

    async def collect(self) -> None:
        catalog = self.world.catalog
        await catalog.fetch("trash_purge", self.random.randint(1, 5), 0)
        await catalog.fetch("garbage_remove", self.random.randint(1, 5), 0)
        await catalog.fetch("references_release", self.random.randint(1, 20))

    def draft(self, size: int) -> UploadDraft:
        return UploadDraft(
            id=uuid7(),
            tenant=TENANT,
            owner="",
            name="",
            content_type="x/y",
            metadata={},
            protocol="tus",
            length=size,
        )


def name(*chunks: bytes) -> bytes:
    return blake3(b"".join(chunks)).digest()


def rows(chunks: list[bytes]) -> list[BatchChunk]:
    return [BatchChunk(name(chunk), len(chunk), new_generation()) for chunk in chunks]


@pytest.fixture
async def world(open_on: OpenCatalog) -> World:
    catalog = await open_on(pool_size_max=WORKERS)
    await create_tenant(catalog, TENANT)
    return World(catalog)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_everything_at_once_leaves_every_count_exact(
    world: World, connection: "asyncpg.Connection[Any]", seed: int
) -> None:
    workers = [Worker(world, Random(seed * 100 + number)) for number in range(WORKERS)]
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run())
    assert world.finished > WORKERS, "the test did what it is about"
    await assert_references_exact(connection)
    await assert_promises_kept(world, connection)
    assert await connection.fetchval("SELECT count(*) FROM quarantine") == 0

    # And when everybody has gone, everything is given back.
    await connection.execute("UPDATE uploads SET expires_at = catalog_clock()")
    await connection.execute(
        "UPDATE objects SET deleted_at = catalog_clock(), purge_at = catalog_clock()"
    )
    for query, arguments in (
        ("uploads_expire", (10_000,)),
        ("trash_purge", (10_000, 0)),
        ("garbage_remove", (10_000, 0)),
        ("references_release", (1_000_000,)),
    ):
        await world.catalog.fetch(query, *arguments)
    await assert_references_exact(connection)
    for table in ("chunks", "blobs", "manifests", "garbage", "unlinking", "upload_chunks"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    doomed = {tuple(row) for row in await connection.fetch("SELECT hash, generation FROM doomed")}
    assert world.put <= doomed, "INV-11: a stored copy that no row knows"


async def assert_promises_kept(world: World, connection: "asyncpg.Connection[Any]") -> None:
    """INV-1, INV-2: what is stored was PUT under that very generation; objects are whole."""
    stored = await connection.fetch("SELECT hash, generation FROM chunks WHERE stored")
    assert {tuple(row) for row in stored} <= world.put
    unstored = await connection.fetch("""
        SELECT m.blob FROM manifests AS m JOIN blobs AS b ON b.hash = m.blob
        CROSS JOIN LATERAL manifest_entries_v1(m.entries) AS e
        LEFT JOIN chunks AS c ON c.hash = e.hash AND c.stored WHERE c.hash IS NULL
    """)
    assert unstored == []
    for row in await connection.fetch('SELECT id, "offset" FROM uploads'):
        assert row["offset"] >= world.acknowledged.get(row["id"], 0)
