"""A purge is recorded in the transaction that takes something away from everybody, for every CDN
that a process has told of.
"""

from uuid import uuid4

import asyncpg

from mediastore.catalog.erasing import Scope, add_erasure, erase_objects, note_recorded
from mediastore.catalog.objects import Object, change_object, restore_object, trash_object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.purges import WANTED_SECONDS, sweep_purges, want_purges
from mediastore.catalog.tenants import change_tenant
from mediastore.chunkstore.memory import MemoryChunkStore
from tests.collection_world import noise, store_file
from tests.integration.events.conftest import TENANT

LONG = f"interval '{WANTED_SECONDS + 1} seconds'"


async def stored(catalog: Catalog) -> Object:
    return await store_file(catalog, MemoryChunkStore(), [noise("a")])


async def recorded(sql: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await sql.fetch("DELETE FROM purges RETURNING cdn, tag")
    return sorted((row["cdn"], row["tag"]) for row in rows)


async def test_a_deleted_object(catalog: Catalog, sql: asyncpg.Connection) -> None:
    await want_purges(catalog, "fastly")
    await want_purges(catalog, "webhook")
    made = await stored(catalog)
    assert await change_object(catalog, TENANT, made.id, name="other") is not None
    assert await recorded(sql) == []
    assert await trash_object(catalog, TENANT, made.id) is not None
    tag = f"blob-{made.blob.hex()}"
    assert await recorded(sql) == [("fastly", tag), ("webhook", tag)]
    assert await restore_object(catalog, TENANT, made.id) is not None
    assert await recorded(sql) == []


async def test_an_erased_object(catalog: Catalog, sql: asyncpg.Connection) -> None:
    """Once: what was in the trash had been told when it was deleted."""
    await want_purges(catalog, "fastly")
    live, trashed = await stored(catalog), await stored(catalog)
    await trash_object(catalog, TENANT, trashed.id)
    assert len(await recorded(sql)) == 1
    erasure = uuid4()
    await add_erasure(catalog, erasure, Scope(TENANT), "asked")
    await note_recorded(catalog, erasure)
    assert (await erase_objects(catalog, erasure, None))[0] == 2
    assert await recorded(sql) == [("fastly", f"blob-{live.blob.hex()}")]


async def test_a_tenant_that_is_public_no_longer(catalog: Catalog, sql: asyncpg.Connection) -> None:
    await want_purges(catalog, "fastly")
    await change_tenant(catalog, TENANT, {}, public=True)
    assert await recorded(sql) == []
    await change_tenant(catalog, TENANT, {}, public=False)
    assert await recorded(sql) == [("fastly", f"tenant-{TENANT}")]
    await change_tenant(catalog, TENANT, {}, public=False)
    assert await recorded(sql) == []


async def test_what_is_rolled_back_purges_nothing(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    await want_purges(catalog, "fastly")
    made = await stored(catalog)
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute("DELETE FROM objects WHERE id = $1", made.id)
    assert await sql.fetchval("SELECT count(*) FROM purges") == 1
    await transaction.rollback()
    assert await recorded(sql) == []


async def test_only_for_cdns_that_somebody_has_told_of_lately(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    made = await stored(catalog)
    await trash_object(catalog, TENANT, made.id)
    assert await recorded(sql) == []

    await want_purges(catalog, "fastly")
    await restore_object(catalog, TENANT, made.id)
    await trash_object(catalog, TENANT, made.id)
    assert await sweep_purges(catalog, 10) == 0
    await sql.execute(f"UPDATE cdns SET wanted_until = wanted_until - {LONG}")
    await restore_object(catalog, TENANT, made.id)
    await trash_object(catalog, TENANT, made.id)
    assert await sql.fetchval("SELECT count(*) FROM purges") == 1
    assert await sweep_purges(catalog, 10) == 1  # nobody would ever send it

    await want_purges(catalog, "fastly")
    before = await sql.fetchval("SELECT wanted_until FROM cdns")
    await want_purges(catalog, "fastly")
    assert await sql.fetchval("SELECT wanted_until FROM cdns") == before  # not at every start
