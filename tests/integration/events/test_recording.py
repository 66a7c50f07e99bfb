"""Events are recorded in the transaction that they tell of, for tenants with a webhook alone."""

import json
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from blake3 import blake3

from mediastore.catalog import dropping
from mediastore.catalog.collection import expire_uploads
from mediastore.catalog.concatenation import create_final
from mediastore.catalog.dropping import terminate_upload
from mediastore.catalog.objects import Object, change_object, restore_object, trash_object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.tenants import change_tenant, create_tenant
from mediastore.catalog.uploads import BatchChunk, UploadDraft, create_upload, intend
from mediastore.chunkstore.memory import MemoryChunkStore
from tests.collection_world import DAY, draft, noise, store_file
from tests.integration.events.conftest import TENANT


async def recorded(sql: asyncpg.Connection) -> list[tuple[str, dict[str, Any]]]:
    rows = await sql.fetch("SELECT kind, payload FROM events ORDER BY id")
    return [(row["kind"], json.loads(row["payload"])) for row in rows]


def resumable(length: int | None) -> UploadDraft:
    return replace(draft(length), protocol="tus")


async def stored(catalog: Catalog, *chunks: bytes) -> Object:
    return await store_file(catalog, MemoryChunkStore(), chunks)


@pytest.mark.usefixtures("secret")
async def test_an_object_s_life(catalog: Catalog, sql: asyncpg.Connection) -> None:
    made = await stored(catalog, noise("a"), noise("b"))
    assert await change_object(catalog, TENANT, made.id, name="other") is not None
    assert await trash_object(catalog, TENANT, made.id) is not None
    assert await restore_object(catalog, TENANT, made.id) is not None
    (created, payload), (deleted, gone), (restored, back) = await recorded(sql)
    assert (created, deleted, restored) == ("object.created", "object.deleted", "object.restored")
    assert payload == {
        "id": str(made.id),
        "owner": made.owner,
        "name": made.name,
        "blob": made.blob.hex(),
        "content_type": made.content_type,
        "size": made.size,
        "metadata": made.metadata,
        "created_at": payload["created_at"],
        "deleted_at": None,
        "purge_at": None,
    }
    assert gone["deleted_at"] is not None
    assert gone["purge_at"] > gone["deleted_at"]
    assert (gone["name"], back["deleted_at"], back["purge_at"]) == ("other", None, None)


@pytest.mark.usefixtures("secret")
async def test_a_linked_blob_makes_an_object_as_well(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    store = MemoryChunkStore()
    first = await store_file(catalog, store, [noise("a")])
    second = await store_file(catalog, store, [noise("a")])
    ids = [payload["id"] for _, payload in await recorded(sql)]
    assert ids == [str(first.id), str(second.id)]


@pytest.mark.usefixtures("secret")
async def test_what_is_rolled_back_is_not_told(catalog: Catalog, sql: asyncpg.Connection) -> None:
    made = await stored(catalog, noise("a"))
    await sql.execute("DELETE FROM events")
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute(
        "UPDATE objects SET deleted_at = now(), purge_at = now() WHERE id = $1", made.id
    )
    assert len(await recorded(sql)) == 1
    await transaction.rollback()
    assert await recorded(sql) == []


@pytest.mark.usefixtures("secret")
async def test_uploads_that_never_became_an_object(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    dropped = await create_upload(catalog, draft(100), expires_seconds=DAY)
    given_up = await create_upload(catalog, draft(200), expires_seconds=DAY)
    expired = await create_upload(catalog, resumable(None), expires_seconds=DAY)
    assert await terminate_upload(catalog, TENANT, dropped.id, told=True) == 0
    assert await terminate_upload(catalog, TENANT, dropped.id, told=True) is None
    assert await terminate_upload(catalog, TENANT, given_up.id) == 0
    await sql.execute("UPDATE uploads SET expires_at = now() - interval '1s'")
    assert (await expire_uploads(catalog, 10)).uploads == 1
    (first, told), (second, swept) = await recorded(sql)
    assert (first, second) == ("upload.terminated", "upload.expired")
    assert (told["id"], told["length"], told["offset"]) == (str(dropped.id), 100, 0)
    assert (swept["id"], swept["length"]) == (str(expired.id), None)
    assert told.keys() == {
        "id", "owner", "name", "content_type", "metadata", "protocol", "offset", "length",
        "created_at", "expires_at",
    }  # fmt: skip


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("protocol", ["raw", "form"])
async def test_of_one_request_that_its_process_did_not_live_to_end_nobody_is_told(
    catalog: Catalog, sql: asyncpg.Connection, protocol: str
) -> None:
    """Nobody could have gone on with it; when it breaks off with its process alive, nobody is told
    either.
    """
    await create_upload(catalog, replace(draft(100), protocol=protocol), expires_seconds=DAY)
    await sql.execute("UPDATE uploads SET expires_at = now() - interval '1s'")
    assert (await expire_uploads(catalog, 10)).uploads == 1
    assert await recorded(sql) == []


@pytest.mark.usefixtures("secret")
async def test_the_end_of_an_upload_of_very_many_chunks_is_told_once(
    catalog: Catalog, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropping, "RELEASED_ROWS_MAX", 1)
    upload = await create_upload(catalog, resumable(300), expires_seconds=DAY)
    chunks = [BatchChunk(blake3(bytes([n])).digest(), 100, n) for n in range(3)]
    await intend(catalog, upload, chunks, expires_seconds=DAY)
    assert await terminate_upload(catalog, TENANT, upload.id, told=True) == 0
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 2
    swept = await expire_uploads(catalog, 10)
    assert (swept.uploads, swept.entries) == (0, 2)
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    assert [kind for kind, _ in await recorded(sql)] == ["upload.terminated"]


@pytest.mark.usefixtures("secret")
async def test_a_part_that_is_in_an_object_has_not_expired(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    part = await create_upload(
        catalog, replace(resumable(0), concat="partial"), expires_seconds=DAY
    )
    final, _ = await create_final(
        catalog, resumable(None), [part.id], header="final;x", epoch=1, size_max_bytes=100
    )
    await sql.execute(
        "UPDATE uploads SET expires_at = now() - interval '1s' WHERE id = $1", part.id
    )
    assert (await expire_uploads(catalog, 10)).uploads == 1
    assert await recorded(sql) == []
    assert await sql.fetchval("SELECT id FROM uploads") == final


async def test_tenants_without_a_webhook_are_told_nothing(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    await create_tenant(catalog, "other")
    await change_tenant(catalog, "other", {"webhook_url": "https://app.example/hook"})
    await change_tenant(catalog, TENANT, {"before_create_url": "https://app.example/hook"})
    made = await stored(catalog, noise("a"))
    await trash_object(catalog, TENANT, made.id)
    upload = await create_upload(catalog, draft(None), expires_seconds=DAY)
    await terminate_upload(catalog, TENANT, upload.id, told=True)
    assert await recorded(sql) == []


@pytest.mark.usefixtures("secret")
async def test_many_objects_of_one_tenant_do_not_wait_for_its_row(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    async with sql.transaction():
        await sql.execute("SELECT 1 FROM tenants WHERE id = $1 FOR UPDATE", TENANT)
        made = await stored(catalog, noise("a"))
    assert [payload["id"] for _, payload in await recorded(sql)] == [str(made.id)]
