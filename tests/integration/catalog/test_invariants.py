"""One named test for each rule that the catalog holds; docs/invariants.md has the whole list."""

from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from blake3 import blake3
from uuid_utils.compat import uuid7

from mediastore.catalog.objects import Object, trash_object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import find_readable_blob, find_readable_object, mark_damaged
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
    intend,
    new_epoch,
)
from mediastore.chunkstore.keys import new_generation
from mediastore.errors import (
    ChunkChanged,
    InvariantBroken,
    NotFound,
    OffsetMismatch,
    UploadTaken,
)
from mediastore.settings import ChunkingSettings
from tests.integration.catalog.conftest import OpenCatalog

CHUNKING = ChunkingSettings()


@pytest.fixture
async def acme(open_on: OpenCatalog) -> Catalog:
    catalog = await open_on()
    await create_tenant(catalog, "acme")
    await create_tenant(catalog, "other")
    return catalog


def name(data: bytes) -> bytes:
    return blake3(data).digest()


async def begun(catalog: Catalog, length: int) -> Upload:
    draft = UploadDraft(uuid7(), "acme", "", "", "x/y", {}, "tus", length)
    return await create_upload(catalog, draft, expires_seconds=3600)


async def intended(catalog: Catalog, upload: Upload, *chunks: bytes) -> list[IntentChunk]:
    rows = [BatchChunk(name(chunk), len(chunk), new_generation()) for chunk in chunks]
    return await intend(catalog, upload, rows, expires_seconds=3600)


def as_put(seen: list[IntentChunk], *, put: bool = True) -> list[CommitChunk]:
    return [CommitChunk(chunk.hash, chunk.generation, put) for chunk in seen]


async def committed(
    catalog: Catalog, upload: Upload, size: int, chunks: list[CommitChunk]
) -> Upload:
    offset = await commit(catalog, upload, size, chunks, finishing=False, expires_seconds=3600)
    return replace(upload, offset=offset)


async def made(catalog: Catalog, *chunks: bytes) -> Object:
    size = sum(map(len, chunks))
    upload = await begun(catalog, size)
    seen = await intended(catalog, upload, *chunks)
    return await commit_and_finish(
        catalog,
        upload,
        size,
        as_put(seen),
        blob=name(b"".join(chunks)),
        chunking=CHUNKING,
        idempotency_key=None,
    )


async def removed(catalog: Catalog, item: Object) -> None:
    """Through the trash to doomed keys, with no delays."""
    await trash_object(catalog, "acme", item.id)
    await catalog.fetch("trash_purge", 100, 0)
    await catalog.fetch("garbage_remove", 100, 0)
    await catalog.fetch("references_release", 1000)


async def test_inv_1_only_a_commit_moves_the_offset(acme: Catalog) -> None:
    upload = await begun(acme, 6)
    seen = await intended(acme, upload, b"abc")
    taken = await take_upload(acme, "acme", upload.id)
    assert taken is not None
    assert taken.upload.offset == 0
    assert taken.previous_epoch == upload.epoch
    upload = taken.upload
    seen = await intended(acme, upload, b"abc")
    assert (await committed(acme, upload, 3, as_put(seen))).offset == 3


async def test_inv_2_a_chunk_that_nobody_put_is_not_committed(acme: Catalog) -> None:
    upload = await begun(acme, 6)
    seen = await intended(acme, upload, b"abc")
    with pytest.raises(ChunkChanged):
        await committed(acme, upload, 3, as_put(seen, put=False))


async def test_inv_2_a_put_of_another_generation_counts_for_nothing(acme: Catalog) -> None:
    upload = await begun(acme, 6)
    [seen] = await intended(acme, upload, b"abc")
    other = CommitChunk(seen.hash, seen.generation ^ 1, put=True)
    with pytest.raises(ChunkChanged):
        await committed(acme, upload, 3, [other])


async def test_inv_2_damaged_chunks_are_no_dedup_hits(acme: Catalog) -> None:
    await made(acme, b"abc")
    upload = await begun(acme, 6)
    [seen] = await intended(acme, upload, b"abc")
    assert seen.stored
    assert not seen.damaged
    await mark_damaged(acme, seen.hash, seen.generation)
    with pytest.raises(ChunkChanged):
        await committed(acme, upload, 3, as_put([seen], put=False))
    [again] = await intended(acme, upload, b"abc")
    assert again.damaged


async def test_inv_3_a_doomed_key_never_comes_back(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    await removed(acme, await made(acme, b"abc"))
    [doomed] = await connection.fetch("SELECT hash, generation FROM doomed")
    upload = await begun(acme, 6)
    [seen] = await intended(acme, upload, b"abc")
    assert seen.hash == doomed["hash"]
    assert seen.generation != doomed["generation"]
    assert not seen.stored


async def test_inv_4_the_last_reference_takes_the_row_and_dooms_the_key(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    first, second = await made(acme, b"abc", b"abc", b"x"), await made(acme, b"abc", b"y")
    refs = "SELECT refs FROM chunks WHERE hash = $1"
    assert await connection.fetchval(refs, name(b"abc")) == 3, "multiplicity counts"
    await removed(acme, first)
    assert await connection.fetchval(refs, name(b"abc")) == 1
    await removed(acme, second)
    assert await connection.fetchval("SELECT count(*) FROM chunks") == 0
    assert await connection.fetchval("SELECT count(*) FROM doomed") == 3


async def test_inv_4_a_row_without_references_cannot_be_committed(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    await made(acme, b"abc")
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await connection.execute("UPDATE chunks SET refs = 0")
    assert refused.value.constraint_name == "chunks_refs_positive"


async def test_inv_6_the_delays_are_measured_by_the_databases_clock(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    """Every moment that a delay is counted from is written by catalog_clock()."""
    await connection.execute(
        "CREATE OR REPLACE FUNCTION catalog_clock() RETURNS timestamptz LANGUAGE sql VOLATILE "
        "AS 'SELECT timestamptz ''2040-01-01 00:00:00+00'''"
    )
    item = await made(acme, b"abc")
    await trash_object(acme, "acme", item.id)
    await acme.fetch("trash_purge", 100, 0)
    moments = [await connection.fetchval("SELECT since FROM garbage")]
    await acme.fetch("garbage_remove", 100, 0)
    moments.append(await connection.fetchval("SELECT since FROM unlinking"))
    moments.append(await connection.fetchval("SELECT since FROM tombstones"))
    await acme.fetch("references_release", 100)
    moments.append(await connection.fetchval("SELECT since FROM doomed"))
    assert {moment.year for moment in moments} == {2040}


async def test_inv_8_another_epoch_or_offset_writes_nothing(acme: Catalog) -> None:
    upload = await begun(acme, 9)
    seen = await intended(acme, upload, b"abc")
    stranger, behind = replace(upload, epoch=new_epoch()), replace(upload, offset=3)
    for wrong, refusal in ((stranger, UploadTaken), (behind, OffsetMismatch)):
        with pytest.raises(refusal):
            await intended(acme, wrong, b"xyz")
        with pytest.raises(refusal):
            await committed(acme, wrong, 3, as_put(seen))
    with pytest.raises(NotFound):
        await intended(acme, replace(upload, id=uuid7()), b"xyz")
    assert (await committed(acme, upload, 3, as_put(seen))).offset == 3


async def test_inv_8_taking_over_releases_what_was_not_committed(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    upload = await begun(acme, 9)
    upload = await committed(acme, upload, 3, as_put(await intended(acme, upload, b"abc")))
    await intended(acme, upload, b"def", b"ghi")
    await take_upload(acme, "acme", upload.id)
    kept = await connection.fetch("SELECT hash FROM upload_chunks")
    assert [row["hash"] for row in kept] == [name(b"abc")]
    await acme.fetch("references_release", 100)
    left = await connection.fetch("SELECT hash FROM chunks")
    assert [row["hash"] for row in left] == [name(b"abc")]


@pytest.mark.parametrize(
    "damage",
    [
        'DELETE FROM upload_chunks WHERE "offset" = 0',
        'DELETE FROM upload_chunks WHERE "offset" = 3',
        'UPDATE upload_chunks SET size = 2 WHERE "offset" = 0',
        "UPDATE chunks SET stored = false",
        "UPDATE chunks SET size = 4",
    ],
)
async def test_inv_8_an_upload_with_a_gap_or_unstored_chunks_does_not_finish(
    acme: Catalog, connection: "asyncpg.Connection[Any]", damage: str
) -> None:
    upload = await begun(acme, 6)
    seen = as_put(await intended(acme, upload, b"abc", b"def"))
    upload = await committed(acme, upload, 6, seen)
    await connection.execute(damage)
    with pytest.raises(InvariantBroken):
        await commit_and_finish(
            acme, upload, 0, [], blob=name(b"abcdef"), chunking=CHUNKING, idempotency_key=None
        )
    assert await connection.fetchval("SELECT count(*) FROM objects") == 0


async def test_inv_10_only_a_live_object_of_the_tenant_allows_a_read(acme: Catalog) -> None:
    item = await made(acme, b"abc")
    assert await find_readable_object(acme, "acme", item.id) is not None
    assert await find_readable_blob(acme, "acme", item.blob) is not None
    assert await find_readable_object(acme, "other", item.id) is None
    assert await find_readable_blob(acme, "other", item.blob) is None
    await trash_object(acme, "acme", item.id)
    assert await find_readable_object(acme, "acme", item.id) is None
    assert await find_readable_blob(acme, "acme", item.blob) is None


async def test_inv_11_the_row_is_there_before_the_put(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    """What the intent returns is what may be PUT, and each of it has a row, not stored yet."""
    upload = await begun(acme, 6)
    seen = await intended(acme, upload, b"abc", b"def")
    rows = await connection.fetch("SELECT hash, generation FROM chunks WHERE NOT stored")
    assert {tuple(row) for row in rows} == {(chunk.hash, chunk.generation) for chunk in seen}


async def test_inv_12_garbage_is_what_nobody_references(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    first, second = await made(acme, b"abc"), await made(acme, b"abc")
    garbage = "SELECT count(*) FROM garbage JOIN blobs ON hash = blob AND refs = 0"
    for item, expected in ((first, 0), (second, 1)):
        await trash_object(acme, "acme", item.id)
        await acme.fetch("trash_purge", 100, 0)
        assert await connection.fetchval(garbage) == expected
    await made(acme, b"abc")
    assert await connection.fetchval("SELECT count(*) FROM garbage") == 0
