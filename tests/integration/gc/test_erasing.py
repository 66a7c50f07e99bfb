"""Erasure: gone at once from the database, from the store after a recount, and not with others."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from blake3 import blake3
from mediastore_gc.collector import Collector
from mediastore_gc.erasing import Eraser, ask_for, erase_now
from mediastore_gc.erasure_records import record_key
from mediastore_gc.erasure_statement import make_statement
from mediastore_gc.progress import Progress
from mediastore_gc.run_counts import RunCounts
from mediastore_gc.status import gather_status

from mediastore.catalog import erasing
from mediastore.catalog.concatenation import create_final
from mediastore.catalog.erasing import Erasure, Scope, get_erasure
from mediastore.catalog.holds import add_hold, remove_hold
from mediastore.catalog.objects import DELETED_CHANNEL, Object, change_object
from mediastore.catalog.uploads import BatchChunk, commit, create_upload, intend
from mediastore.chunkstore.keys import COLLECTOR_MARKER, ERASURES_PREFIX, new_generation
from mediastore.collector_errors import CollectorPaused, Held
from mediastore.errors import ChunkStoreUnavailable, NotFound
from mediastore.settings import CollectionSettings
from tests.collection_world import DAY, TENANT, World, draft, leave_upload, noise, put_missing
from tests.counts_exact import assert_counts_exact
from tests.faults import Fault, FaultyStore
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_stages import WINDOW, pass_delays, run
from tests.recount_exact import assert_references_exact

WAIT = CollectionSettings().erasure_wait_seconds
SETTINGS = CollectionSettings()


async def erase_once(world: World, scope: Scope) -> Erasure:
    return await erase_now(
        world.catalog,
        world.store,
        world.clock,
        scope,
        "case 9",
        skew_max_seconds=300,
        progress=Progress(),
    )


async def erase(world: World, scope: Scope) -> Erasure:
    erasure = await erase_once(world, scope)
    if erasure.removed_at is None:
        await world.older_transactions_end()
        erasure = await erase_once(world, scope)
    return erasure


async def erase_object(world: World, made: Object) -> Erasure:
    world.files.pop(made.id, None)
    return await erase(world, Scope(TENANT, None, made.id))


async def collect(collector: Collector) -> RunCounts:
    """Passes until nothing is left to do; what they did."""
    total = RunCounts()
    while (done := await run(collector)).did_something:
        total = total.plus(deleted_keys=done.deleted_keys, recounts=done.recounts)
    return total


async def statement(world: World, id_: UUID) -> dict[str, Any]:
    return await make_statement(world.catalog, SETTINGS, id_)


async def assert_exact(world: World) -> None:
    await assert_references_exact(world.sql)
    await assert_counts_exact(world.sql)
    await world.assert_files_read_back()


async def by_another(world: World, chunks: Sequence[bytes], owner: str = "another") -> Object:
    made = await world.put(chunks)
    changed = await change_object(world.catalog, TENANT, made.id, owner=owner)
    assert changed is not None
    return changed


@pytest.mark.parametrize("stage", ["live", "trash", "garbage", "doomed"])
async def test_bytes_go_with_the_next_recount_from_wherever_they_are(
    world: World, collector: MakeCollector, stage: str
) -> None:
    made = await world.put([noise("own"), noise("more")])
    await world.put([noise("another's")])
    for at in ("trash", "garbage", "doomed"):
        if stage == "live":
            break
        if at == "trash":
            await world.trash(made)
        else:
            await world.clock.advance(DAY)
            await collect(collector())
        if at == stage:
            break

    asked = await erase_object(world, made)
    assert asked.removed_at is not None
    assert await world.count("objects") == 1
    assert await world.count("purged_objects") == 0
    await assert_exact(world)
    assert (await collect(collector())).deleted_keys == 0, "the recount is shared: it waits"
    await assert_exact(world)
    status = await gather_status(world.catalog, world.store, SETTINGS)
    assert status.stages["doomed_erased"].count == 2
    assert status.stages["erasures"].count == 1
    assert (await collector().plan()).stages["doomed_erased"].count == 2
    assert len(await world.keys()) == 3
    assert not (await statement(world, asked.id))["complete"]

    await world.clock.advance(WAIT)
    done = await collect(collector())
    assert (done.deleted_keys, done.recounts) == (2, 1)
    assert len(await world.keys()) == 1
    await assert_exact(world)
    said = await statement(world, asked.id)
    assert (said["complete"], said["objects"], said["deleted_keys"]) == (True, 1, 2)
    assert (said["deleted_bytes"], said["shared_chunks"]) == (128, 0)
    (item,) = said["items"]
    assert item == {
        "id": str(made.id),
        "kind": "object",
        "blake3": made.blob.hex(),
        "size": 128,
        "shared": False,
    }


async def test_a_recount_that_is_made_anyway_clears_it_as_well(
    world: World, collector: MakeCollector
) -> None:
    """One pass for all: an erasure does not wait when somebody recounts sooner."""
    made = await world.put([noise("a")])
    await erase_object(world, made)
    worker = collector()
    await collect(worker)
    assert await worker.recount() is not None
    assert (await collect(worker)).deleted_keys == 1
    assert await world.keys() == set()


async def test_a_recount_begun_before_the_keys_were_marked_clears_nothing(
    world: World, collector: MakeCollector
) -> None:
    made = await world.put([noise("a")])
    await world.trash(made)
    await pass_delays(world, collector)
    worker = collector()
    await worker.plan()
    assert await worker.recount() is not None
    await erase_object(world, made)
    assert (await collect(worker)).deleted_keys == 0
    assert len(await world.keys()) == 1


@pytest.mark.parametrize("whose", ["owner", "tenant"])
async def test_everything_of_an_owner_or_tenant_goes_and_nothing_else(
    world: World, collector: MakeCollector, whose: str
) -> None:
    other = await by_another(world, [noise("other")])
    mine = [await world.put([noise(n), noise("common")]) for n in range(3)]
    await world.trash(mine[0])
    upload = await leave_upload(world, [noise("begun"), noise("x")])
    scope = Scope(TENANT, "someone" if whose == "owner" else None)
    for made in mine[1:]:
        world.files.pop(made.id)
    if whose == "tenant":
        world.files.pop(other.id)
    asked = await erase(world, scope)
    assert await world.count("uploads") == 0
    assert await world.count("objects") == (1 if whose == "owner" else 0)
    later = await world.put([noise("later"), noise(1)])
    await world.clock.advance(WAIT)
    await collect(collector())
    assert len(await world.keys()) == (3 if whose == "owner" else 2)
    await assert_exact(world)
    said = await statement(world, asked.id)
    assert said["complete"]
    assert (said["objects"], said["uploads"]) == (3 if whose == "owner" else 4, 1)
    assert {item["id"] for item in said["items"]} >= {str(upload), *(str(m.id) for m in mine)}
    assert later.id in world.files


async def test_large_scopes_go_in_batches_and_uploads_in_steps(
    world: World, collector: MakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(7):
        await world.put([noise(n % 5), noise((n, "own"))])
    await leave_upload(world, [noise(("up", n)) for n in range(9)])
    world.files.clear()
    asked = await ask_for(world.catalog, world.store, Scope(TENANT), "all of it")
    await Eraser(world.catalog, world.store).record(asked)
    id_ = asked.id
    steps = 0
    while await erasing.erase_upload(world.catalog, id_, rows=4):
        steps += 1
        await assert_references_exact(world.sql)
    assert steps == 3
    after = None
    removed = []
    while True:
        count, after = await erasing.erase_objects(world.catalog, id_, after, 3)
        if count == 0:
            break
        removed.append(count)
        await assert_exact(world)
    assert removed == [3, 3, 1]
    await world.older_transactions_end()
    assert await erasing.note_removed(world.catalog, id_)
    assert await erasing.mark_keys(world.catalog, id_) == 0, "its references are not released yet"
    assert (await get_erasure(world.catalog, id_)).marked_at is None
    await collect(collector(batch_entries=4))
    await world.clock.advance(WAIT)
    await collect(collector(batch_keys=5))
    assert await world.keys() == set()
    said = await statement(world, id_)
    assert (said["complete"], said["deleted_keys"]) == (True, 5 + 7 + 9)


@pytest.mark.parametrize("ends", [True, False])
async def test_what_was_open_before_the_request_is_waited_for(
    world: World, dsn: str, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be making an object; one that stays open only delays what `run` then goes on with."""
    made = await world.put([noise("mine")])
    older = await asyncpg.connect(dsn)
    await older.execute("BEGIN; SELECT pg_current_xact_id()")

    async def sleep(seconds: float) -> None:
        if ends and not older.is_closed():
            await older.close()
            await world.older_transactions_end()
        await world.clock.advance(seconds)

    monkeypatch.setattr(world.clock, "sleep", sleep)
    asked = await erase_once(world, Scope(TENANT, None, made.id))
    assert await world.count("objects") == 0, "what can be seen goes at once"
    assert (asked.removed_at is not None) == ends
    if not ends:
        assert not await Eraser(world.catalog, world.store).remove_some()
        await older.close()
    world.files.clear()
    assert (await erase(world, Scope(TENANT, None, made.id))).removed_at is not None


async def test_what_others_have_stays_and_the_receipt_says_so(
    world: World, collector: MakeCollector
) -> None:
    same_blob = [noise("whole"), noise("file")]
    await by_another(world, same_blob)
    await by_another(world, [noise("piece"), noise("theirs")])
    mine = [await world.put(same_blob), await world.put([noise("piece"), noise("mine")])]
    for made in mine:
        world.files.pop(made.id)
    asked = await erase(world, Scope(TENANT, "someone"))
    await world.clock.advance(WAIT)
    assert (await collect(collector())).deleted_keys == 1
    await assert_exact(world)
    said = await statement(world, asked.id)
    assert (said["complete"], said["shared_chunks"], said["shared_bytes"]) == (True, 1, 64)
    assert {item["blake3"]: item["shared"] for item in said["items"]} == {
        mine[0].blob.hex(): True,
        mine[1].blob.hex(): False,
    }


@pytest.mark.parametrize("kind", ["blob", "chunk"])
async def test_what_somebody_else_deleted_lately_waits_its_whole_window(
    world: World, collector: MakeCollector, kind: str
) -> None:
    """A restore must bring theirs back (INV-6): they asked for no erasure."""
    theirs = [noise("both"), noise("theirs")] if kind == "chunk" else [noise("both"), noise("all")]
    mine = [noise("both"), noise("mine")] if kind == "chunk" else theirs
    other = await by_another(world, theirs)
    made = await world.put(mine)
    await world.trash(other)
    await pass_delays(world, collector)
    asked = await erase_object(world, made)
    await world.clock.advance(WAIT)
    done = await collect(collector())
    assert done.deleted_keys == (1 if kind == "chunk" else 0)
    said = await statement(world, asked.id)
    if kind == "chunk":
        assert (said["complete"], said["window_keys"], said["waiting_keys"]) == (False, 1, 0)
        assert said["window_ends_at"] > said["asked_at"]
    assert len(await world.keys()) == 2
    for seconds in (DAY, WINDOW):
        await world.clock.advance(seconds)
        await collect(collector())
    assert await world.keys() == set()
    assert (await statement(world, asked.id))["complete"]


async def test_one_is_not_complete_while_another_ones_keys_have_its_bytes(
    world: World, collector: MakeCollector
) -> None:
    mine, too = [await world.put([noise("both"), noise(number)]) for number in range(2)]
    asked = [await erase_object(world, made) for made in (mine, too)]
    await collect(collector())
    for erasure in asked:
        said = await statement(world, erasure.id)
        assert (said["complete"], said["waiting_keys"], said["deleted_keys"]) == (False, 2, 0)
    await world.clock.advance(WAIT)
    assert (await collect(collector())).deleted_keys == 3
    for erasure in asked:
        said = await statement(world, erasure.id)
        assert (said["complete"], said["waiting_keys"], said["deleted_keys"]) == (True, 0, 2)
        assert (said["deleted_bytes"], said["shared_chunks"]) == (128, 0)


async def test_it_is_not_complete_while_a_worker_that_stopped_has_a_key_of_it(
    world: World, collector: MakeCollector
) -> None:
    made = await world.put([noise("a")])
    await world.trash(made)
    await pass_delays(world, collector)
    await world.sql.execute("UPDATE doomed SET claimed_at = catalog_clock()")
    asked = await erase_object(world, made)
    await collect(collector())
    said = await statement(world, asked.id)
    assert (said["complete"], said["waiting_keys"], said["window_keys"]) == (False, 1, 0)
    await world.clock.advance(WINDOW)
    assert (await collect(collector())).deleted_keys == 1
    assert (await statement(world, asked.id))["complete"]


@pytest.mark.parametrize("kind", ["object", "owner", "tenant"])
async def test_a_hold_refuses(world: World, collector: MakeCollector, kind: str) -> None:
    made = await world.put([noise("held")])
    names: dict[str, Any] = {"tenant": None, "owner": None, "object_": None}
    if kind == "object":
        names["object_"] = made.id
    else:
        names["tenant"], names["owner"] = TENANT, made.owner if kind == "owner" else None
    added = await add_hold(world.catalog, **names, why="case 7")
    for scope in (Scope(TENANT, None, made.id), Scope(TENANT, made.owner), Scope(TENANT)):
        with pytest.raises(Held, match="case 7"):
            await erase(world, scope)
    assert await world.count("erasures") == 0
    await world.assert_files_read_back()
    if kind == "object":
        other = await by_another(world, [noise("free")])
        world.files.pop(other.id)
        assert (await erase(world, Scope(TENANT, "another"))).removed_at is not None
    await remove_hold(world.catalog, added.hold)
    assert (await erase_object(world, made)).removed_at is not None


async def test_a_hold_added_meanwhile_stops_what_is_not_removed_yet(
    world: World, collector: MakeCollector
) -> None:
    made = await world.put([noise("held")])
    id_ = (await ask_for(world.catalog, world.store, Scope(TENANT, made.owner), "why")).id
    added = await add_hold(world.catalog, tenant=TENANT, owner=None, object_=None, why="case 7")
    worker = collector()
    assert (await worker.plan()).is_empty
    await collect(worker)
    await world.assert_files_read_back()
    assert (await erase(world, Scope(TENANT, made.owner))).removed_at is None
    await remove_hold(world.catalog, added.hold)
    await collect(worker)
    assert (await get_erasure(world.catalog, id_)).removed_at is not None
    assert await world.count("objects") == 0


async def test_nothing_goes_while_paused_or_unknown(world: World) -> None:
    made = await world.put([noise("a")])
    await world.sql.execute("UPDATE gc_state SET paused_at = catalog_clock(), paused_why = 'x'")
    with pytest.raises(CollectorPaused):
        await erase_object(world, made)
    assert await world.count("erasures") == 0
    with pytest.raises(NotFound):
        await erasing.tenant_of(world.catalog, uuid4())
    with pytest.raises(NotFound):
        await erasing.require_tenant(world.catalog, "nobody")


async def test_nothing_goes_before_the_store_has_its_record(
    world: World, collector: MakeCollector
) -> None:
    """Crashes around the record and the marker: repeating the command, or a run, goes on."""
    made = await world.put([noise("a")])
    assert isinstance(world.store, FaultyStore)
    down = ChunkStoreUnavailable()
    for key in (COLLECTOR_MARKER, ERASURES_PREFIX, COLLECTOR_MARKER):
        for fault in (Fault(before=down), Fault(after=down)):
            world.store.script_key("put_if", key, fault)
            with pytest.raises(ChunkStoreUnavailable):
                await erase_object(world, made)
            assert await world.count("objects") == 1
    assert await world.count("erasures") == 1
    world.store.script("get_versioned", None, Fault(before=ChunkStoreUnavailable()))
    with pytest.raises(ChunkStoreUnavailable):
        await run(collector())
    assert await world.count("objects") == 1
    await run(collector())
    assert await world.count("objects") == 0
    (id_,) = [row["id"] for row in await world.sql.fetch("SELECT id FROM erasures")]
    assert (await world.store.get(record_key(id_))).startswith(b"{")
    assert (await world.store.get(COLLECTOR_MARKER)).startswith(b"{")


async def test_erasing_twice_is_one_erasure(world: World, collector: MakeCollector) -> None:
    made = await world.put([noise("a")])
    first = await erase_object(world, made)
    assert (await erase_object(world, made)).id == first.id
    await world.clock.advance(WAIT)
    await collect(collector())
    with pytest.raises(NotFound, match=str(first.id)):
        await erasing.tenant_of(world.catalog, made.id)
    again = await by_another(world, [noise("b")], owner="someone")
    world.files.pop(again.id)
    assert (await erase(world, Scope(TENANT, "someone"))).id != first.id


async def test_a_key_that_somebody_still_needs_is_kept_by_the_recount(
    world: World, collector: MakeCollector
) -> None:
    """INV-7 holds for erasures too: a miscount costs space, not bytes."""
    await world.put([noise("a"), noise("b")])
    made = await world.put([noise("a"), noise("c")])
    await world.sql.execute("UPDATE chunks SET refs = 1")
    await erase_object(world, made)
    await world.clock.advance(WAIT)
    await collect(collector())
    kept = await world.sql.fetchval("SELECT count(*) FROM doomed WHERE kept_by_recount IS NOT NULL")
    assert kept == 1
    assert len(await world.keys()) == 2


async def test_old_erasures_are_forgotten_with_their_records(
    world: World, collector: MakeCollector
) -> None:
    asked = await erase_object(world, await world.put([noise("a")]))
    await world.clock.advance(WAIT)
    await collect(collector())
    await world.clock.advance(SETTINGS.erasures_kept_seconds - 1)
    await collect(collector())
    assert await world.count("erasures") == 1
    await world.clock.advance(1)
    await collect(collector())
    assert await world.count("erasures") == 0
    assert await world.count("erased_objects") == 0
    names = {e.key async for page in world.store.list(prefix="_mediastore/") for e in page}
    assert record_key(asked.id) not in names


async def test_the_app_and_every_replica_are_told(
    world: World, dsn: str, collector: MakeCollector
) -> None:
    """What waits to be told of it goes: it names what the law wants gone."""
    await world.sql.execute(
        "UPDATE tenants SET policy = '{\"webhook_url\": \"https://x\"}', webhook_secrets = '{a}'"
    )
    listening = await asyncpg.connect(dsn)
    heard: list[object] = []
    await listening.add_listener(DELETED_CHANNEL, lambda *said: heard.append(said[-1]))
    made = await world.put([noise("a")])
    other = await by_another(world, [noise("b")])
    asked = await erase_object(world, made)
    told = await world.sql.fetch("SELECT kind, payload FROM events ORDER BY id")
    assert [row["kind"] for row in told] == ["object.created", "object.erased"]
    assert json.loads(told[0]["payload"])["id"] == str(other.id)
    assert json.loads(told[1]["payload"]) == {
        "id": str(made.id),
        "owner": made.owner,
        "erasure": str(asked.id),
    }
    await listening.execute("SELECT 1")
    assert heard == [f"{TENANT} {made.id} {made.blob.hex()}"]
    await listening.close()


@pytest.mark.parametrize("expired", [False, True])
async def test_parts_and_finals_go_with_their_owner(
    world: World, collector: MakeCollector, expired: bool
) -> None:
    """The final has the first part's chunks by then, the second part its own."""
    parts = []
    for n, length in enumerate((64, 128)):
        part = await create_upload(
            world.catalog,
            replace(draft(length), protocol="tus", concat="partial"),
            expires_seconds=DAY,
        )
        row = BatchChunk(blake3(noise(n)).digest(), 64, new_generation())
        intended = await intend(world.catalog, part, [row], expires_seconds=DAY)
        put = await put_missing(world.store, {row.hash: noise(n)}, intended)
        await commit(world.catalog, part, 64, put, finishing=False, expires_seconds=DAY)
        parts.append(part.id)
    await create_final(
        world.catalog,
        replace(draft(None), protocol="tus"),
        parts,
        header="final;x",
        epoch=1,
        size_max_bytes=1000,
    )
    if expired:
        await world.clock.advance(8 * DAY)
    asked = await erase(world, Scope(TENANT, "someone"))
    assert asked.removed_at is not None
    assert await world.count("uploads") == 0
    assert await world.count("concatenations") == 0
    await assert_exact(world)
    await world.clock.advance(WAIT)
    assert (await collect(collector())).deleted_keys == 2
    said = await statement(world, asked.id)
    assert (said["complete"], said["uploads"]) == (True, 3)
