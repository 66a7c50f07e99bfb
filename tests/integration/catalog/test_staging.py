"""Batches that are stored without being acknowledged, and the one commit that acknowledges them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from mediastore.catalog.digests import find_blob_digests
from mediastore.catalog.finishing import finish
from mediastore.catalog.pool import Catalog
from mediastore.catalog.staging import commit_staged, intend_staged, release_staged, stage
from mediastore.catalog.taking import take_upload
from mediastore.catalog.tenants import create_tenant
from mediastore.catalog.upload_lengths import declare_length
from mediastore.catalog.uploads import (
    BatchChunk,
    CommitChunk,
    Upload,
    UploadDraft,
    commit,
    commit_and_finish,
    create_upload,
    get_upload,
    intend,
    new_epoch,
)
from mediastore.chunkstore.keys import new_generation
from mediastore.content.digests import Digester
from mediastore.errors import (
    BadDigest,
    BadLength,
    ChunkChanged,
    InvariantBroken,
    OffsetMismatch,
    UploadTaken,
)
from tests.integration.catalog.conftest import OpenCatalog
from tests.integration.catalog.test_invariants import CHUNKING, name
from tests.recount_exact import assert_references_exact

ABC_SHA = {"sha-256": sha256(b"abc").digest()}


@pytest.fixture
async def acme(open_on: OpenCatalog) -> Catalog:
    catalog = await open_on()
    await create_tenant(catalog, "acme")
    return catalog


async def begun(catalog: Catalog, length: int | None = 12, **says: Any) -> Upload:
    draft = UploadDraft(uuid7(), "acme", "", "", "x/y", {}, "tus", length, **says)
    return await create_upload(catalog, draft, expires_seconds=3600)


def rows(*chunks: bytes) -> list[BatchChunk]:
    return [BatchChunk(name(chunk), len(chunk), new_generation()) for chunk in chunks]


async def staged(catalog: Catalog, upload: Upload, start: int, *chunks: bytes) -> None:
    """Intent, a PUT that is believed, and staged."""
    seen = await intend_staged(
        catalog, upload, rows(*chunks), staged_bytes=start, expires_seconds=3600
    )
    put = [CommitChunk(chunk.hash, chunk.generation, True) for chunk in seen]
    size = sum(map(len, chunks))
    await stage(catalog, upload, size, put, staged_bytes=start, expires_seconds=3600)


async def acknowledged(catalog: Catalog, upload: Upload, size: int) -> int:
    return await commit_staged(catalog, upload, size, [], finishing=False, expires_seconds=3600)


async def offset(catalog: Catalog, upload: Upload) -> int:
    row = await get_upload(catalog, "acme", upload.id)
    assert row is not None
    return row.offset


async def test_inv_1_staging_moves_no_offset_and_one_commit_moves_it_over_all(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    upload = await begun(acme)
    await staged(acme, upload, 0, b"abc", b"def")
    await staged(acme, upload, 6, b"abc")
    assert await offset(acme, upload) == 0
    assert await connection.fetchval("SELECT bool_and(stored) FROM chunks")
    assert await acknowledged(acme, upload, 9) == 9
    assert await offset(acme, upload) == 9
    await assert_references_exact(connection)


async def test_a_staged_upload_can_be_finished_with_its_last_batch(acme: Catalog) -> None:
    upload = await begun(acme, 6)
    await staged(acme, upload, 0, b"abc")
    [seen] = await intend_staged(acme, upload, rows(b"def"), staged_bytes=3, expires_seconds=3600)
    made = await commit_and_finish(
        acme,
        upload,
        6,
        [CommitChunk(seen.hash, seen.generation, True)],
        blob=name(b"abcdef"),
        chunking=CHUNKING,
        idempotency_key=None,
    )
    assert made.size == 6


async def test_a_repeated_intent_releases_only_what_lies_past_its_start(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    upload = await begun(acme)
    await staged(acme, upload, 0, b"abc")
    for chunk in (b"xyz", b"def"):
        await staged(acme, upload, 3, chunk)
    kept = await connection.fetch('SELECT hash FROM upload_chunks ORDER BY "offset"')
    assert [row["hash"] for row in kept] == [name(b"abc"), name(b"def")]
    await assert_references_exact(connection)


@pytest.mark.parametrize("start", [2, 4, 6])
async def test_a_batch_begins_exactly_where_what_is_staged_ends(acme: Catalog, start: int) -> None:
    upload = await begun(acme)
    await staged(acme, upload, 0, b"abc")
    with pytest.raises(InvariantBroken):
        await staged(acme, upload, start, b"def")


async def test_a_batch_never_begins_before_the_committed_offset(acme: Catalog) -> None:
    upload = await begun(acme)
    seen = await intend(acme, upload, rows(b"abc"), expires_seconds=3600)
    put = [CommitChunk(chunk.hash, chunk.generation, True) for chunk in seen]
    await commit(acme, upload, 3, put, finishing=False, expires_seconds=3600)
    upload = replace(upload, offset=3)
    with pytest.raises(InvariantBroken):
        await staged(acme, upload, -3, b"xyz")
    await staged(acme, upload, 0, b"def")
    assert await acknowledged(acme, upload, 3) == 6


async def test_a_staged_batch_stays_within_the_length(acme: Catalog) -> None:
    upload = await begun(acme, 5)
    await staged(acme, upload, 0, b"abc")
    with pytest.raises(BadLength):
        await staged(acme, upload, 3, b"def")


async def test_inv_2_a_staged_chunk_that_nobody_put_is_refused(acme: Catalog) -> None:
    upload = await begun(acme)
    [seen] = await intend_staged(acme, upload, rows(b"abc"), staged_bytes=0, expires_seconds=60)
    for chunk in (
        CommitChunk(seen.hash, seen.generation, False),
        CommitChunk(seen.hash, seen.generation ^ 1, True),
    ):
        with pytest.raises(ChunkChanged):
            await stage(acme, upload, 3, [chunk], staged_bytes=0, expires_seconds=60)


@pytest.mark.parametrize(
    "damage",
    [
        'DELETE FROM upload_chunks WHERE "offset" = 0',
        'DELETE FROM upload_chunks WHERE "offset" = 3',
        'DELETE FROM upload_chunks WHERE "offset" = 6',
        'UPDATE upload_chunks SET size = 2 WHERE "offset" = 3',
        'UPDATE upload_chunks SET "offset" = 7 WHERE "offset" = 6',
        "UPDATE chunks SET stored = false WHERE size = 4",
        "UPDATE chunks SET size = 5 WHERE size = 3",
    ],
)
async def test_inv_8_only_what_runs_on_without_a_gap_and_is_stored_is_acknowledged(
    acme: Catalog, connection: "asyncpg.Connection[Any]", damage: str
) -> None:
    upload = await begun(acme)
    await staged(acme, upload, 0, b"abc")
    await staged(acme, upload, 3, b"def")
    await staged(acme, upload, 6, b"ghij")
    await connection.execute(damage)
    with pytest.raises(InvariantBroken):
        await acknowledged(acme, upload, 10)
    assert await offset(acme, upload) == 0


@pytest.mark.parametrize("size", [0, 2, 4])
async def test_the_size_acknowledged_is_that_of_what_is_staged(acme: Catalog, size: int) -> None:
    upload = await begun(acme)
    await staged(acme, upload, 0, b"abc")
    with pytest.raises(InvariantBroken):
        await acknowledged(acme, upload, size)


Step = Callable[[Catalog, Upload], Awaitable[object]]
STEPS: list[Step] = [
    lambda catalog, upload: staged(catalog, upload, 3, b"def"),
    lambda catalog, upload: acknowledged(catalog, upload, 3),
    release_staged,
    lambda catalog, upload: declare_length(catalog, upload, 9),
]


@pytest.mark.parametrize("step", STEPS)
async def test_inv_8_another_epoch_or_offset_stages_and_releases_nothing(
    acme: Catalog, connection: "asyncpg.Connection[Any]", step: Step
) -> None:
    upload = await begun(acme, None)
    await staged(acme, upload, 0, b"abc")
    with pytest.raises(UploadTaken):
        await step(acme, replace(upload, epoch=new_epoch()))
    with pytest.raises(OffsetMismatch):
        await step(acme, replace(upload, offset=1))
    assert await connection.fetchval("SELECT count(*) FROM upload_chunks") == 1
    assert await acknowledged(acme, upload, 3) == 3


@pytest.mark.parametrize("taken", [False, True])
async def test_what_is_staged_is_released_or_lost_to_the_next_writer(
    acme: Catalog, connection: "asyncpg.Connection[Any]", taken: bool
) -> None:
    upload = await begun(acme)
    await staged(acme, upload, 0, b"abc")
    await staged(acme, upload, 3, b"def")
    if taken:
        await take_upload(acme, "acme", upload.id, expected_offset=0)
        with pytest.raises(UploadTaken):
            await acknowledged(acme, upload, 6)
    else:
        await release_staged(acme, upload)
    assert await offset(acme, upload) == 0
    assert await connection.fetchval("SELECT count(*) FROM upload_chunks") == 0
    await assert_references_exact(connection)


@pytest.mark.parametrize(
    "computed", [{"sha-512": bytes(64)}, {"sha-256": bytes(32)}, {"sha": ABC_SHA["sha-256"]}]
)
async def test_a_finish_without_the_declared_digests_is_refused(
    acme: Catalog, connection: "asyncpg.Connection[Any]", computed: dict[str, bytes]
) -> None:
    upload = await begun(acme, 3, declared_digests=ABC_SHA)
    await staged(acme, upload, 0, b"abc")
    with pytest.raises(BadDigest):
        await commit_and_finish(
            acme,
            upload,
            3,
            [],
            blob=name(b"abc"),
            chunking=CHUNKING,
            idempotency_key=None,
            digests=computed,
        )
    await acknowledged(acme, upload, 3)
    with pytest.raises(BadDigest):
        await finish(
            acme,
            replace(upload, offset=3),
            blob=name(b"abc"),
            size=3,
            chunking=CHUNKING,
            digests=computed,
        )
    for table in ("objects", "blobs", "blob_digests"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_digests_are_kept_with_the_blob_and_go_with_it(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    digester = Digester(["md5", "sha-256"])
    digester.update(b"abc")
    for declared in (ABC_SHA, digester.digests()):
        upload = await begun(acme, 3, declared_digests=declared)
        assert (await get_upload(acme, "acme", upload.id)) == upload
        await staged(acme, upload, 0, b"abc")
        await commit_and_finish(
            acme,
            upload,
            3,
            [],
            blob=name(b"abc"),
            chunking=CHUNKING,
            idempotency_key=None,
            digests=declared,
        )
        assert await find_blob_digests(acme, name(b"abc")) == declared
    await connection.execute("UPDATE objects SET deleted_at = now(), purge_at = now()")
    await acme.fetch("trash_purge", 100, 0)
    await acme.fetch("garbage_remove", 100, 0)
    assert await connection.fetchval("SELECT count(*) FROM blobs") == 0
    assert await find_blob_digests(acme, name(b"abc")) == {}


async def test_a_deferred_length_is_declared_once(acme: Catalog) -> None:
    upload = await begun(acme, None)
    await staged(acme, upload, 0, b"abc")
    await acknowledged(acme, upload, 3)
    upload = replace(upload, offset=3)
    with pytest.raises(BadLength):
        await declare_length(acme, upload, 2)
    assert (await declare_length(acme, upload, 5)).length == 5
    assert (await declare_length(acme, upload, 5)).length == 5
    with pytest.raises(BadLength):
        await declare_length(acme, upload, 6)
    row = await get_upload(acme, "acme", upload.id)
    assert row is not None
    assert row.length == 5
