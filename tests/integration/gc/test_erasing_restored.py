"""A database restored to a moment before an erasure erases again, and loses nothing of others."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from mediastore_gc.erasing import ask_for
from mediastore_gc.erasure_records import (
    ErasureRecord,
    parse_record,
    read_record,
    record_key,
    record_of,
    record_pages,
    write_record,
)
from mediastore_gc.progress import Progress
from mediastore_gc.reconcile import Reconciled, reconcile

from mediastore.catalog.erasing import Erasure, Scope, get_erasure
from mediastore.chunkstore.keys import ERASURES_PREFIX
from mediastore.collector_errors import DatabaseRestored
from mediastore.errors import InvariantBroken
from tests.collection_world import TENANT, World, leave_upload, noise
from tests.faults import FaultyStore
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_erasing import (
    WAIT,
    assert_exact,
    by_another,
    collect,
    erase,
    statement,
)
from tests.integration.gc.test_stages import pass_delays

RECORD = {
    "format": 1,
    "erasure": "00000000-0000-4000-8000-000000000000",
    "tenant": TENANT,
    "owner": None,
    "object": None,
    "why": "",
    "asked_at": "2030-01-01T00:00:00Z",
}
TABLES = (
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'moved_clock'"
)


async def save(connection: "asyncpg.Connection[Any]") -> None:
    """A backup of every row."""
    await connection.execute("DROP SCHEMA IF EXISTS saved CASCADE; CREATE SCHEMA saved")
    for row in await connection.fetch(TABLES):
        await connection.execute(f"CREATE TABLE saved.{row[0]} AS TABLE public.{row[0]}")


async def restore(connection: "asyncpg.Connection[Any]") -> None:
    """The database as it was when it was saved."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        names = [row[0] for row in await connection.fetch(TABLES)]
        await connection.execute(f"TRUNCATE {', '.join(names)}")
        for name in names:
            await connection.execute(
                f"INSERT INTO public.{name} OVERRIDING SYSTEM VALUE TABLE saved.{name}"
            )


async def reconciled(world: World, *, apply: bool) -> Reconciled:
    done = await reconcile(
        world.catalog, world.store, apply=apply, stop=asyncio.Event(), progress=Progress()
    )
    await world.older_transactions_end()
    return done


async def only_erasure(world: World) -> Erasure:
    (row,) = await world.sql.fetch("SELECT id FROM erasures")
    return await get_erasure(world.catalog, row["id"])


async def test_a_restored_database_erases_again(world: World, collector: MakeCollector) -> None:
    kept = await by_another(world, [noise("kept"), noise("common")])
    mine = await world.put([noise("mine"), noise("common")])
    await leave_upload(world, [noise("begun")])
    await save(world.sql)
    world.files.pop(mine.id)
    asked = await erase(world, Scope(TENANT, "someone"))
    await world.clock.advance(WAIT)
    assert (await collect(collector())).deleted_keys == 2

    await restore(world.sql)
    assert await world.count("objects") == 2
    with pytest.raises(DatabaseRestored):
        await collector().plan()
    looked = await reconciled(world, apply=False)
    assert (looked.erasures, looked.missing) == ((asked.id,), 1)
    assert await world.count("erasures") == 0

    applied = await reconciled(world, apply=True)
    assert (applied.erasures, applied.bad_records) == ((asked.id,), ())
    again = await only_erasure(world)
    assert (again.asked_at, again.why) == (asked.asked_at, asked.why)
    later = await world.put([noise("later")])
    await collect(collector())
    assert await world.count("uploads") == 0
    assert {row["id"] for row in await world.sql.fetch("SELECT id FROM objects")} == {
        kept.id,
        later.id,
    }
    assert len(await world.keys()) == 3
    await assert_exact(world)
    assert (await statement(world, asked.id))["complete"]
    assert (await reconciled(world, apply=True)).erasures == ()


async def test_an_erasure_that_was_only_asked_for_is_not_forgotten_by_a_restore(
    world: World, collector: MakeCollector
) -> None:
    """No key was claimed since the backup: the marker tells nevertheless."""
    mine = await world.put([noise("mine")])
    await save(world.sql)
    world.files.pop(mine.id)
    await erase(world, Scope(TENANT, None, mine.id))
    await restore(world.sql)
    with pytest.raises(DatabaseRestored):
        await collector().plan()
    await reconciled(world, apply=True)
    await world.clock.advance(WAIT)
    await collect(collector())
    assert await world.keys() == set()


async def test_others_objects_of_that_moment_read_back(
    world: World, collector: MakeCollector
) -> None:
    """Deleted between the backup and the erasure, sharing a chunk with what was erased (INV-6)."""
    theirs = await by_another(world, [noise("both"), noise("theirs")])
    mine = await world.put([noise("both"), noise("mine")])
    await save(world.sql)
    files = dict(world.files)
    await world.trash(theirs)
    await pass_delays(world, collector)
    world.files.pop(mine.id)
    await erase(world, Scope(TENANT, "someone"))
    await world.clock.advance(WAIT)
    assert (await collect(collector())).deleted_keys == 1
    await restore(world.sql)
    found = await reconciled(world, apply=True)
    assert (found.missing, [hurt.id for hurt in found.hurt.objects]) == (1, [mine.id])
    world.files[theirs.id] = files[theirs.id]
    await collect(collector())
    await assert_exact(world)


async def test_a_database_that_knows_the_erasure_goes_on_with_it(
    world: World, collector: MakeCollector
) -> None:
    """Restored to a moment when it had been asked for, and not yet recorded."""
    mine = await world.put([noise("mine")])
    asked = await ask_for(world.catalog, world.store, Scope(TENANT, None, mine.id), "why")
    await save(world.sql)
    world.files.pop(mine.id)
    await erase(world, Scope(TENANT, None, mine.id))
    await world.clock.advance(WAIT)
    await collect(collector())
    await restore(world.sql)
    assert (await reconciled(world, apply=True)).erasures == ()
    await collect(collector())
    assert (await get_erasure(world.catalog, asked.id)).finished_at is not None
    assert await world.keys() == set()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": 2}',
        b'{"format": 1, "erasure": "x"}',
        json.dumps({**RECORD, "tenant": 3}).encode(),
        json.dumps({**RECORD, "asked_at": "2030-01-01T00:00:00"}).encode(),
        json.dumps({**RECORD, "erasure": "00000000-0000-4000-8000-000000000001"}).encode(),
    ],
)
async def test_a_record_that_makes_no_sense_is_reported_and_left_alone(
    world: World, body: bytes
) -> None:
    key = f"{ERASURES_PREFIX}00000000-0000-4000-8000-000000000000"
    await world.store.put_if(key, body, version=None)
    assert await read_record(world.store, key) is None
    found = await reconciled(world, apply=True)
    assert (found.erasures, found.bad_records) == ((), (key,))
    assert await world.count("erasures") == 0


async def test_records_say_what_was_asked_for(world: World) -> None:
    made = await world.put([noise("a")])
    scopes = [Scope(TENANT), Scope(TENANT, "ö\"'{}\n"), Scope(TENANT, None, made.id)]
    for scope in scopes:
        asked = await ask_for(world.catalog, world.store, scope, "because")
        record = ErasureRecord(asked.id, scope, "because", asked.asked_at)
        assert parse_record(record.body) == record
        await write_record(world.store, record)
        await write_record(world.store, record)
        other = ErasureRecord(asked.id, Scope("x"), "because", asked.asked_at)
        with pytest.raises(InvariantBroken):
            await write_record(world.store, other)
        assert record.key == record_key(asked.id)
    (page,) = [page async for page in record_pages(world.store)]
    read = [await read_record(world.store, key) for key in page]
    assert {record.scope for record in read if record is not None} == set(scopes)


@pytest.mark.parametrize("name", ["not-an-id", "00000000000040008000000000000000", "a/b"])
async def test_a_key_that_no_erasure_has_is_reported(world: World, name: str) -> None:
    await world.store.put_if(f"{ERASURES_PREFIX}{name}", b"{}", version=None)
    found = await reconciled(world, apply=True)
    assert found.bad_records == (f"{ERASURES_PREFIX}{name}",)


async def test_only_records_that_are_not_known_are_read_whatever_the_pages(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store remembers more than a year of erasures: neither all of them at once, nor each."""
    assert isinstance(world.store, FaultyStore)
    monkeypatch.setattr("mediastore.chunkstore.memory.PAGE_ENTRIES_MAX", 2)
    scopes = [Scope(TENANT, owner) for owner in "abcdef"]
    asked = [await ask_for(world.catalog, world.store, scope, "because") for scope in scopes]
    for each in asked:
        await write_record(world.store, record_of(each))
    unknown = {each.id for each in asked[2:5]}
    await world.sql.execute("DELETE FROM erasures WHERE id = ANY ($1)", list(unknown))
    before = len(world.store.calls)
    assert set((await reconciled(world, apply=True)).erasures) == unknown
    read = [key for name, key in world.store.calls[before:] if name == "get_versioned"]
    assert {key for key in read if key.startswith(ERASURES_PREFIX)} == set(map(record_key, unknown))
    assert (await reconciled(world, apply=False)).erasures == ()
