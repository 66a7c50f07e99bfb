"""Groups of small bodies in the catalog: their references and locks, and what is not finished."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeAlias

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from mediastore.catalog.bodies import Begun, Body, begin_bodies, finish_bodies
from mediastore.catalog.idempotency import find_by_idempotency_keys
from mediastore.catalog.pool import Catalog
from mediastore.catalog.tenants import create_tenant
from mediastore.catalog.uploads import CommitChunk, Upload, UploadDraft, new_epoch
from mediastore.chunkstore.keys import new_generation
from mediastore.errors import (
    ChunkChanged,
    IdempotencyKeyInUse,
    InvariantBroken,
    MediastoreError,
    NotFound,
    OffsetMismatch,
    UploadTaken,
)
from mediastore.settings import ChunkingSettings
from tests.integration.catalog.conftest import OpenCatalog
from tests.integration.catalog.test_invariants import made, name
from tests.recount_exact import assert_references_exact

Connection: TypeAlias = "asyncpg.Connection[Any]"
CHUNKING = ChunkingSettings()


@pytest.fixture
async def acme(open_on: OpenCatalog) -> Catalog:
    # Nothing is tried again: a deadlock would be an error here.
    catalog = await open_on(retries_max=0, pool_size_max=12)
    await create_tenant(catalog, "acme")
    return catalog


def body(data: bytes, *, key: str | None = None) -> Body:
    draft = UploadDraft(
        uuid7(), "acme", "ann", "n", "x/y", {"a": 1}, "form", None, idempotency_key=key
    )
    return Body(draft, name(data), len(data))


def upload_of(bodies: Sequence[Body]) -> Upload:
    size = sum(each.size for each in bodies)
    now = datetime.now(UTC)
    return Upload(
        uuid7(), "acme", "", "", "x/y", {}, "form", "open", 0, size, None, new_epoch(), now
    )


async def begun(catalog: Catalog, bodies: Sequence[Body]) -> tuple[Upload, Begun]:
    upload = upload_of(bodies)
    generations = [new_generation() for _ in bodies]
    return upload, await begin_bodies(catalog, upload, bodies, generations, expires_seconds=3600)


def put(group: Begun) -> list[CommitChunk]:
    return [CommitChunk(chunk.hash, chunk.generation, True) for chunk in group.chunks]


async def test_inv_11_the_rows_are_there_before_the_puts(
    acme: Catalog, connection: Connection
) -> None:
    bodies = [body(b"a"), body(b"b"), body(b"a"), body(b"")]
    upload, group = await begun(acme, bodies)
    assert group.linked == {}
    assert {chunk.hash for chunk in group.chunks} == {name(b"a"), name(b"b")}
    rows = await connection.fetch("SELECT hash, refs, stored FROM chunks")
    assert {(row["hash"], row["refs"], row["stored"]) for row in rows} == {
        (name(b"a"), 2, False),
        (name(b"b"), 1, False),
    }
    await assert_references_exact(connection)
    objects = await finish_bodies(acme, upload, bodies, put(group), CHUNKING)
    assert list(objects) == [each.draft.id for each in bodies]
    assert objects[bodies[0].draft.id].metadata == {"a": 1}
    await assert_references_exact(connection)
    assert await connection.fetchval("SELECT count(*) FROM uploads") == 0


async def test_inv_2_a_chunk_that_nobody_put_is_not_finished(
    acme: Catalog, connection: Connection
) -> None:
    bodies = [body(b"a"), body(b"b")]
    upload, group = await begun(acme, bodies)
    chunks = [replace(chunk, put=chunk.hash == name(b"a")) for chunk in put(group)]
    with pytest.raises(ChunkChanged):
        await finish_bodies(acme, upload, bodies, chunks, CHUNKING)
    with pytest.raises(InvariantBroken):
        await finish_bodies(acme, upload, bodies, chunks[:0], CHUNKING)
    assert await connection.fetchval("SELECT count(*) FROM blobs") == 0
    await assert_references_exact(connection)


async def test_inv_8_only_its_writer_finishes_it_and_only_as_it_was_begun(
    acme: Catalog, connection: Connection
) -> None:
    bodies = [body(b"aa"), body(b"b"), body(b"")]
    upload, group = await begun(acme, bodies)
    refused: list[tuple[Upload, list[Body], type[MediastoreError]]] = [
        (replace(upload, id=uuid7()), bodies, NotFound),
        (replace(upload, epoch=upload.epoch ^ 1), bodies, UploadTaken),
        (replace(upload, tenant="other"), bodies, InvariantBroken),
        (upload, [bodies[1], bodies[0]], InvariantBroken),
        (upload, bodies[:1], InvariantBroken),
        (upload, [*bodies, bodies[0]], InvariantBroken),
        (upload, [bodies[0], body(b"c")], InvariantBroken),
    ]
    for wrong, told, error in refused:
        with pytest.raises(error):
            await finish_bodies(acme, wrong, told, put(group), CHUNKING)
    await connection.execute('UPDATE uploads SET "offset" = 2')
    with pytest.raises(OffsetMismatch):
        await finish_bodies(acme, upload, bodies, put(group), CHUNKING)
    assert await connection.fetchval("SELECT count(*) FROM blobs") == 0


async def test_known_blobs_are_linked_and_come_back_from_garbage(
    acme: Catalog, connection: Connection
) -> None:
    first = [body(b"a"), body(b"b")]
    upload, group = await begun(acme, first)
    await finish_bodies(acme, upload, first, put(group), CHUNKING)
    await connection.execute("UPDATE objects SET deleted_at = now(), purge_at = now()")
    await connection.execute("SELECT trash_purge_v1(10, NULL)")
    assert await connection.fetchval("SELECT count(*) FROM garbage") == 2
    second = [body(b"c"), body(b"a"), body(b"a")]
    upload, group = await begun(acme, second)
    assert set(group.linked) == {second[1].draft.id, second[2].draft.id}
    assert [chunk.hash for chunk in group.chunks] == [name(b"c")]
    await finish_bodies(acme, upload, second[:1], put(group), CHUNKING)
    assert await connection.fetchval("SELECT count(*) FROM garbage") == 1
    await assert_references_exact(connection)


async def test_a_manifest_that_is_not_whole_is_replaced(
    acme: Catalog, connection: Connection
) -> None:
    """The blob came into being meanwhile, cut otherwise, and one of its chunks is damaged."""
    bodies = [body(b"ab"), body(b"c")]
    upload, group = await begun(acme, bodies)
    await made(acme, b"a", b"b")
    await connection.execute("UPDATE chunks SET damaged_at = now() WHERE hash = $1", name(b"a"))
    await finish_bodies(acme, upload, bodies, put(group), CHUNKING)
    entries = await connection.fetchval(
        "SELECT entries FROM manifests WHERE blob = $1", name(b"ab")
    )
    assert entries == name(b"ab") + (2).to_bytes(8, "big")
    assert await connection.fetchval("SELECT refs FROM blobs WHERE hash = $1", name(b"ab")) == 2
    await assert_references_exact(connection)


async def test_keys_are_kept_or_nothing_is(acme: Catalog, connection: Connection) -> None:
    bodies = [body(b"a", key="k1"), body(b"b"), body(b"c", key="k2")]
    upload, group = await begun(acme, bodies)
    objects = await finish_bodies(acme, upload, bodies, put(group), CHUNKING)
    found = await find_by_idempotency_keys(acme, "acme", ["k1", "k2", "k3"])
    assert found == {"k1": objects[bodies[0].draft.id], "k2": objects[bodies[2].draft.id]}
    assert await find_by_idempotency_keys(acme, "other", ["k1"]) == {}
    with pytest.raises(IdempotencyKeyInUse):  # linked: refused at the beginning
        await begun(acme, [body(b"a", key="k3"), body(b"b", key="k1")])
    new = [body(b"x", key="k3"), body(b"y", key="k1")]
    upload, group = await begun(acme, new)
    with pytest.raises(IdempotencyKeyInUse):
        await finish_bodies(acme, upload, new, put(group), CHUNKING)
    assert await connection.fetchval("SELECT count(*) FROM objects") == 3
    assert (await find_by_idempotency_keys(acme, "acme", ["k3"])) == {}
    await assert_references_exact(connection)


@pytest.mark.parametrize("seed", range(3))
async def test_groups_with_the_same_bodies_in_any_order_wait_for_each_other_without_deadlock(
    acme: Catalog, connection: Connection, seed: int
) -> None:
    random = Random(seed)

    def shuffled(contents: list[bytes]) -> list[Body]:
        return [body(data) for data in random.sample(contents, len(contents))]

    async def finish(group: tuple[list[Body], Upload, Begun]) -> None:
        bodies, upload, first = group
        await finish_bodies(acme, upload, bodies, put(first), CHUNKING)

    for turn in range(12):
        contents = [b"%d.%d" % (turn, number) for number in range(40)]
        orders = [shuffled(contents) for _ in range(4)]
        groups = [(bodies, *await begun(acme, bodies)) for bodies in orders]
        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                tasks.create_task(finish(group))
            for _ in range(4):
                tasks.create_task(begun(acme, shuffled(contents)))
    await assert_references_exact(connection)
