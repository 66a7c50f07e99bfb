"""What stops a collector, and that nothing is deleted or forgotten when it does."""

import asyncio
import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from blake3 import blake3
from mediastore_gc.collector import Collector
from mediastore_gc.marker import raise_marker
from mediastore_gc.progress import Progress
from mediastore_gc.reconcile import Reconciled, reconcile

from mediastore.catalog.collection import collector_state, lock_collector, release_references
from mediastore.catalog.emptying import remove_garbage
from mediastore.catalog.marker import Marker, checked_marker, read_marker
from mediastore.chunkstore.keys import COLLECTOR_MARKER
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.chunkstore.protocol import DeleteResult, MissingKey, Versioned
from mediastore.collector_errors import (
    AuditStopped,
    ClockSkew,
    CollectorPaused,
    CollectorRefused,
    DatabaseRestored,
)
from mediastore.errors import ChunkStoreUnavailable, InvariantBroken
from tests.collection_world import DAY, START, World, noise
from tests.faults import Fault, FaultyStore
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_stages import WINDOW, doom, run
from tests.recount_exact import assert_references_exact


@pytest.fixture
async def due(world: World, collector: MakeCollector) -> list[str]:
    """Three doomed keys past the window, ready for a recount; their names."""
    await doom(world, collector, [noise("a"), noise("b"), noise("c")])
    await world.clock.advance(WINDOW)
    return sorted(await world.keys())


def faulty(world: World) -> FaultyStore:
    assert isinstance(world.store, FaultyStore)
    return world.store


async def settled(world: World, *, apply: bool) -> Reconciled:
    progress = Progress()
    return await reconcile(
        world.catalog, world.store, apply=apply, stop=asyncio.Event(), progress=progress
    )


async def set_marker(world: World, incarnation: object, counter: object) -> None:
    held = await read_marker(world.store)
    body = json.dumps({"incarnation": str(incarnation), "counter": counter}).encode()
    version = None if held is None else held.version
    await world.store.put_if(COLLECTOR_MARKER, body, version=version)


async def incarnation(world: World) -> object:
    return await world.sql.fetchval("SELECT incarnation FROM gc_state")


async def test_a_key_that_the_store_refuses_is_kept_and_tried_again(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    faulty(world).script("delete_many", Fault(undeleted=frozenset({due[1]})))
    counts = await run(collector())
    assert (counts.deleted_keys, counts.refused_keys) == (2, 1)
    assert await world.keys() == {due[1]}
    assert (await run(collector())).deleted_keys == 0
    row = await world.sql.fetchrow("SELECT * FROM doomed")
    assert row is not None
    assert row["last_error"] == "scripted"
    await world.clock.advance(DAY)
    assert (await run(collector())).deleted_keys == 1
    assert await world.keys() == set()


async def test_an_answer_that_is_not_about_every_key_is_not_believed(
    world: World, collector: MakeCollector, due: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def one_short(keys: list[str]) -> list[DeleteResult]:
        return [DeleteResult(key) for key in keys[1:]]

    monkeypatch.setattr(faulty(world), "delete_many", one_short)
    with pytest.raises(InvariantBroken):
        await run(collector())
    assert await world.count("doomed") == 3


async def test_a_crash_between_claim_and_delete_is_taken_up_after_the_claim_timeout(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    gate = Fault(gate=asyncio.Event())
    faulty(world).script("delete_many", gate)
    crashing = asyncio.create_task(run(collector()))
    await gate.reached.wait()
    crashing.cancel()
    await asyncio.wait([crashing])
    assert sorted(await world.keys()) == due
    marker = await read_marker(world.store)
    assert marker is not None
    assert marker.counter == 1, "the marker is raised before the deletes"
    assert (await run(collector())).deleted_keys == 0
    await world.clock.advance(900)
    assert (await run(collector())).deleted_keys == 3
    assert await world.keys() == set()


async def test_a_store_that_is_down_costs_no_row(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    faulty(world).script("delete_many", Fault(after=ChunkStoreUnavailable("answer lost")))
    with pytest.raises(ChunkStoreUnavailable):
        await run(collector())
    assert await world.count("doomed") == 3
    await world.clock.advance(DAY)
    assert (await run(collector())).deleted_keys == 3


async def test_a_database_behind_the_marker_has_been_restored(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    await set_marker(world, await incarnation(world), 1)
    with pytest.raises(DatabaseRestored, match="reconcile"):
        await collector().plan()
    assert sorted(await world.keys()) == due


async def test_a_restore_between_plan_and_claim_is_noticed_by_the_claim(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    worker = collector()
    plan = await worker.plan()
    await set_marker(world, await incarnation(world), 1)
    with pytest.raises(DatabaseRestored):
        await worker.execute(plan)
    assert sorted(await world.keys()) == due


async def test_a_store_of_another_incarnation_is_left_alone(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    await set_marker(world, uuid4(), 0)
    with pytest.raises(DatabaseRestored):
        await collector().plan()


async def test_another_incarnation_installed_behind_the_claim_stops_the_deletes(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    worker = collector()
    plan = await worker.plan()
    await set_marker(world, await incarnation(world), 0)
    gate = Fault(gate=asyncio.Event())
    faulty(world).script("get_versioned", None, None, gate)  # recount, claim, then the raise
    running = asyncio.create_task(worker.execute(plan))
    await gate.reached.wait()
    assert await world.sql.fetchval("SELECT count(*) FROM doomed WHERE claimed_at IS NOT NULL") == 3
    await set_marker(world, uuid4(), 5)
    assert gate.gate is not None
    gate.gate.set()
    with pytest.raises(DatabaseRestored):
        await running
    assert sorted(await world.keys()) == due


async def test_a_marker_that_has_gone_means_another_store(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    await run(collector())
    await world.store.delete_many([COLLECTOR_MARKER])
    with pytest.raises(CollectorRefused, match="another store"):
        await collector().plan()


async def test_another_collectors_first_claim_is_not_taken_for_an_emptied_store(
    world: World,
) -> None:
    """Between our reads of marker and database, another wrote its first marker and claimed."""
    ours = await incarnation(world)

    class FirstReadMisses(FaultyStore):
        async def get_versioned(self, key: str) -> Versioned:
            try:
                return await super().get_versioned(key)
            except MissingKey:
                await raise_marker(world.store, UUID(str(ours)), 0)
                await world.sql.execute("UPDATE gc_state SET batch_counter = 1")
                raise

    marker = await checked_marker(world.catalog, FirstReadMisses(world.store))
    assert (marker.incarnation, marker.counter) == (ours, 0)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"counter": 1}', b'{"incarnation": 1}'])
async def test_a_marker_that_makes_no_sense_stops(
    world: World, collector: MakeCollector, body: bytes
) -> None:
    await world.store.put_if(COLLECTOR_MARKER, body, version=None)
    with pytest.raises(CollectorRefused):
        await collector().plan()


async def test_the_marker_is_never_lowered_and_survives_a_race() -> None:
    store = FaultyStore(MemoryChunkStore())
    life = uuid4()
    await asyncio.gather(*(raise_marker(store, life, counter) for counter in (3, 9, 5, 7, 1)))
    held = await read_marker(store)
    assert held == Marker(life, 9, held.version if held else None)
    assert (await raise_marker(store, life, 2)).counter == 9


async def test_two_collectors_share_the_work(world: World, collector: MakeCollector) -> None:
    await doom(world, collector, *([noise((n, m)) for m in range(5)] for n in range(12)))
    await world.clock.advance(WINDOW)
    await collector().recount()
    workers = [collector(batch_keys=3), collector(batch_keys=3)]
    plans = [await worker.plan() for worker in workers]
    done = await asyncio.gather(
        *(worker.execute(plan) for worker, plan in zip(workers, plans, strict=True))
    )
    assert sum(counts.deleted_keys for counts in done) == 60
    assert await world.keys() == set()
    assert await world.count("doomed") == 0
    await assert_references_exact(world.sql)


async def test_a_paused_collector_does_nothing(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    worker = collector()
    plan = await worker.plan()
    await world.catalog.execute("collector_pause", "looking into it")
    with pytest.raises(CollectorPaused, match="looking into it"):
        await collector().plan()
    with pytest.raises(CollectorPaused):
        await worker.execute(plan)
    await world.catalog.execute("collector_resume")
    assert (await run(collector())).deleted_keys == 3


@pytest.mark.parametrize("seconds", [-301, 301])
async def test_clocks_that_disagree_stop_it(
    world: World, collector: MakeCollector, due: list[str], seconds: int
) -> None:
    worker = collector()
    plan = await worker.plan()
    await world.clock.set_database(world.clock.now() + timedelta(seconds=seconds))
    with pytest.raises(ClockSkew):
        await collector().plan()
    with pytest.raises(ClockSkew):
        await worker.execute(plan)
    assert sorted(await world.keys()) == due


async def test_a_database_clock_that_went_back_stops_it(
    world: World, collector: MakeCollector
) -> None:
    await world.sql.execute("UPDATE gc_state SET clock_high = $1", START + timedelta(seconds=10))
    with pytest.raises(ClockSkew, match="back"):
        await collector().plan()
    with pytest.raises(ClockSkew, match="back"):
        await world.catalog.fetch_row("collector_lock", await incarnation(world), START, 300.0)


async def test_a_clock_that_leaps_back_behind_the_guard_uses_up_no_window(
    world: World, collector: MakeCollector
) -> None:
    """INV-6: a key waits from the latest time that a guard has seen, whatever the clock says."""
    await world.trash(await world.put([noise("a")]))
    await world.clock.advance(DAY)
    await run(collector())
    await world.clock.advance(DAY)
    assert (await remove_garbage(world.catalog, 10, revive_seconds=DAY)).bytes == 64
    incarnation = (await collector_state(world.catalog)).incarnation
    await lock_collector(
        world.catalog, incarnation, host_time=world.clock.now(), skew_max_seconds=1
    )
    await world.clock.set_database(START)
    assert (await release_references(world.catalog, 10)).doomed_keys == 1
    assert await world.sql.fetchval("SELECT since FROM doomed") == world.clock.now()


async def test_too_large_a_share_stops_it_before_anything(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    await world.put([noise("live", 500)])
    limits = {"delete_share_floor_bytes": 0, "delete_share_max": 0.2}
    with pytest.raises(CollectorRefused, match="delete-share-max"):
        await run(collector(**limits))
    assert sorted(set(due) - await world.keys()) == []
    limits["delete_share_max"] = 0.3
    assert (await run(collector(**limits))).deleted_keys == 3


async def test_the_share_counts_what_the_last_day_took(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    await world.put([noise("live", 500)])
    limits = {"delete_share_floor_bytes": 0, "delete_share_max": 0.3}
    await run(collector(**limits))
    await world.trash(await world.put([noise("more", 100)]))
    await world.clock.advance(DAY - 1)
    await world.sql.execute("UPDATE objects SET purge_at = deleted_at WHERE purge_at IS NOT NULL")
    with pytest.raises(CollectorRefused, match="last day"):
        await run(collector(**limits))


async def test_collectors_at_once_keep_to_one_share_together(
    world: World, collector: MakeCollector
) -> None:
    """Each plans with the whole share before the other has deleted anything."""
    await doom(world, collector, *([noise((n, m)) for m in range(4)] for n in range(5)))
    await world.put([noise("live", 20 * 64)])
    await world.clock.advance(WINDOW)
    await collector().recount()
    limits = {"delete_share_floor_bytes": 0, "delete_share_max": 0.5, "batch_keys": 2}
    workers = [collector(**limits), collector(**limits)]
    plans = [await worker.plan() for worker in workers]
    assert [plan.allowed_bytes for plan in plans] == [20 * 64] * 2
    await workers[0].execute(plans[0])
    assert await world.keys() != set()
    await world.put([noise("more", 10 * 64)])
    again = [noise(("again", n)) for n in range(8)]
    await world.trash(await world.put(again))
    await world.sql.execute("UPDATE objects SET purge_at = deleted_at WHERE purge_at IS NOT NULL")
    for chunk in again:
        await doom_now(world, chunk)
    with pytest.raises(CollectorRefused, match="other collectors"):
        await workers[1].execute(plans[1])
    assert len(await world.keys()) > 2


async def doom_now(world: World, chunk: bytes) -> None:
    """As if it had been doomed before the last recount began."""
    await world.sql.execute(
        "WITH gone AS (DELETE FROM chunks WHERE hash = $1 RETURNING hash, generation, size) "
        "INSERT INTO doomed (hash, generation, size, since, transaction) "
        "SELECT hash, generation, size, '2029-01-01', '3' FROM gone",
        blake3(chunk).digest(),
    )


async def test_reconcile_marks_what_is_missing_and_lets_collectors_work_again(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    made = await world.put([noise("lost"), noise("there")])
    lost = await world.sql.fetchval("SELECT hash FROM chunks ORDER BY hash LIMIT 1")
    key = next(key for key in await world.keys() if lost.hex() in key)
    await world.store.delete_many([key])
    await set_marker(world, await incarnation(world), 7)
    found = await settled(world, apply=False)
    assert (found.checked, found.missing) == (2, 1)
    assert await world.sql.fetchval("SELECT count(*) FROM chunks WHERE damaged_at IS NOT NULL") == 0
    with pytest.raises(DatabaseRestored):
        await collector().plan()

    await settled(world, apply=True)
    assert await world.sql.fetch("SELECT hash FROM chunks WHERE damaged_at IS NOT NULL") == [
        (lost,)
    ]
    assert (await run(collector())).deleted_keys == 3
    healed = await world.put([noise("lost"), noise("there")])
    assert healed.blob == made.blob
    await world.assert_files_read_back()


async def test_a_collector_of_the_old_incarnation_stops_behind_its_batch(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    old: Collector = collector()
    plan = await old.plan()
    await settled(world, apply=True)
    with pytest.raises(DatabaseRestored):
        await old.execute(plan)
    assert sorted(await world.keys()) == due


async def test_reconcile_names_whom_it_hurts(world: World) -> None:
    hurt = await world.put([noise("lost"), noise("there")])
    await world.put([noise("there")])
    lost = next(key for key in await world.keys() if blake3(noise("lost")).hexdigest() in key)
    await world.store.delete_many([lost])
    found = await settled(world, apply=False)
    assert [item.id for item in found.hurt.objects] == [hurt.id]
    assert found.orphans == 0


async def test_reconcile_names_what_was_marked_before(world: World) -> None:
    """By a read while the service ran already, or by a reconcile that crashed behind its marks."""
    hurt = await world.put([noise("lost"), noise("there")])
    await world.put([noise("damaged")])
    lost = blake3(noise("lost")).digest()
    await world.store.delete_many([key for key in await world.keys() if lost.hex() in key])
    await world.sql.execute("UPDATE chunks SET damaged_at = now() WHERE hash = $1", lost)
    damaged = blake3(noise("damaged")).digest()
    await world.sql.execute("UPDATE chunks SET damaged_at = now() WHERE hash = $1", damaged)
    for _ in range(2):
        found = await settled(world, apply=True)
        assert (found.checked, found.missing) == (3, 1)
        assert [item.id for item in found.hurt.objects] == [hurt.id]


async def test_a_worker_that_has_claimed_is_fenced_before_anything_is_checked(
    world: World, collector: MakeCollector, due: list[str]
) -> None:
    """It would delete behind reconcile's back what that has just seen in the store."""
    worker = collector()
    plan = await worker.plan()
    await set_marker(world, await incarnation(world), 0)
    claimed = Fault(gate=asyncio.Event())
    faulty(world).script("get_versioned", None, None, claimed)  # recount, claim, then the raise
    running = asyncio.create_task(worker.execute(plan))
    await claimed.reached.wait()
    checking = Fault(gate=asyncio.Event())
    faulty(world).script("list", checking)
    reconciling = asyncio.create_task(settled(world, apply=True))
    await checking.reached.wait()
    assert claimed.gate is not None
    claimed.gate.set()
    with pytest.raises(DatabaseRestored):
        await running
    assert checking.gate is not None
    checking.gate.set()
    assert (await reconciling).missing == 0
    assert sorted(await world.keys()) == due


async def test_a_reconcile_that_crashed_leaves_collectors_refusing(
    world: World, collector: MakeCollector
) -> None:
    await world.put([noise("a")])
    faulty(world).script("list", Fault(before=ChunkStoreUnavailable()))
    with pytest.raises(ChunkStoreUnavailable):
        await settled(world, apply=True)
    with pytest.raises(DatabaseRestored):
        await collector().plan()
    await settled(world, apply=True)
    assert (await collector().plan()).is_empty


async def test_a_reconcile_that_is_stopped_begins_no_incarnation(
    world: World, collector: MakeCollector
) -> None:
    await world.put([noise("a")])
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(AuditStopped):
        await reconcile(world.catalog, world.store, apply=True, stop=stop, progress=Progress())
    with pytest.raises(DatabaseRestored):
        await collector().plan()


async def test_of_two_reconciles_one_wins(world: World, collector: MakeCollector) -> None:
    await world.put([noise("a")])
    gate = Fault(gate=asyncio.Event())
    faulty(world).script("list", gate)
    first = asyncio.create_task(settled(world, apply=True))
    await gate.reached.wait()
    await settled(world, apply=True)
    assert gate.gate is not None
    gate.gate.set()
    with pytest.raises(CollectorRefused, match="reconcile again"):
        await first
    assert (await collector().plan()).is_empty
