"""Counts by stage are kept, not counted: exact after everything that moves something."""

import asyncio

import pytest
from mediastore_gc.status import gather_status

from mediastore.catalog.counts import fold_changes, hour_counts, rebuild_counts
from mediastore.catalog.objects import restore_object
from mediastore.catalog.recount import last_recount
from mediastore.collector_errors import CollectorRefused
from mediastore.errors import ChunkStoreUnavailable
from mediastore.settings import CollectionSettings
from tests.collection_world import DAY, TENANT, World, noise
from tests.counts_exact import assert_counts_exact
from tests.faults import Fault, FaultyStore
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_stages import HOUR, WINDOW, doom, run

SETTINGS = CollectionSettings()


async def test_exact_at_every_stage(world: World, collector: MakeCollector) -> None:
    made = [await world.put([noise(n), noise("shared")]) for n in range(3)]
    for each in made:
        await world.trash(each)
        await assert_counts_exact(world.sql)
        await world.clock.advance(HOUR)
    assert await restore_object(world.catalog, TENANT, made[2].id) is not None
    await assert_counts_exact(world.sql)
    for _ in range(6):
        await world.clock.advance(DAY)
        await run(collector())
        await assert_counts_exact(world.sql)
    await world.clock.advance(WINDOW)
    await run(collector())
    assert await hour_counts(world.catalog) == []
    assert await world.count("stage_counts") == 0
    assert await world.count("stage_changes") == 0


async def test_exact_through_revival_refusal_and_claims(
    world: World, collector: MakeCollector
) -> None:
    await world.trash(await world.put([noise("back")]))
    await world.clock.advance(DAY)
    await run(collector())
    await world.put([noise("back")])
    await assert_counts_exact(world.sql)
    await doom(world, collector, [noise("a"), noise("b")])
    await world.clock.advance(WINDOW)
    assert isinstance(world.store, FaultyStore)
    world.store.script("delete_many", Fault(after=ChunkStoreUnavailable("answer lost")))
    with pytest.raises(ChunkStoreUnavailable):
        await run(collector())
    await assert_counts_exact(world.sql)
    status = await gather_status(world.catalog, world.store, SETTINGS)
    assert status.stages["doomed_refused"].count == 2
    gate = Fault(gate=asyncio.Event())
    world.store.script("delete_many", gate)
    await world.clock.advance(DAY)
    crashing = asyncio.create_task(run(collector()))
    await gate.reached.wait()
    await assert_counts_exact(world.sql)
    status = await gather_status(world.catalog, world.store, SETTINGS)
    assert (status.stages["doomed_claimed"].count, status.stages["doomed_claimed"].bytes) == (
        2,
        128,
    )
    crashing.cancel()
    await asyncio.wait([crashing])


async def test_folding_loses_nothing_while_others_append(
    world: World, collector: MakeCollector
) -> None:
    made = [await world.put([noise(n)]) for n in range(12)]

    async def delete() -> None:
        for each in made:
            await world.trash(each)

    async def fold() -> None:
        for _ in range(30):
            await fold_changes(world.catalog)

    await asyncio.gather(delete(), fold(), fold(), fold())
    await assert_counts_exact(world.sql)
    await fold_changes(world.catalog)
    assert await world.count("stage_changes") == 0
    await assert_counts_exact(world.sql)


async def test_what_was_filled_past_the_triggers_is_counted_anew(
    world: World, collector: MakeCollector
) -> None:
    await doom(world, collector, [noise("a")])
    await world.trash(await world.put([noise("b")]))
    before = await hour_counts(world.catalog)
    await world.sql.execute("UPDATE stage_counts SET count = 99")
    await rebuild_counts(world.catalog)
    assert await hour_counts(world.catalog) == before
    await assert_counts_exact(world.sql)


async def test_status_says_what_the_exact_plan_says_an_hour_later(
    world: World, collector: MakeCollector
) -> None:
    """Kept counts are by the hour: the same amounts, and due up to an hour later."""
    await doom(world, collector, [noise("a"), noise("b")])
    await world.trash(await world.put([noise("c")]))
    await world.clock.advance(DAY + HOUR)
    plan = await collector().plan()
    status = await gather_status(world.catalog, world.store, SETTINGS)
    for stage in ("trash_due", "doomed_waiting"):
        assert (status.stages[stage].count, status.stages[stage].bytes) == (
            plan.stages[stage].count,
            plan.stages[stage].bytes,
        )
    await world.clock.advance(WINDOW + HOUR)
    status = await gather_status(world.catalog, world.store, SETTINGS)
    assert status.stages["doomed_unrecounted"].count == 2
    assert "trash_due" in status.overdue
    assert sum(back.bytes for back in status.coming_back) == 64 * 3
    await collector().recount()
    assert await last_recount(world.catalog) is not None
    status = await gather_status(world.catalog, world.store, SETTINGS)
    assert status.stages["doomed_due"].count == 2


async def test_status_names_the_brakes_that_are_on(world: World, collector: MakeCollector) -> None:
    assert (await gather_status(world.catalog, world.store, SETTINGS)).brakes == ()
    await doom(world, collector, [noise("a")])
    await world.clock.advance(WINDOW)
    await run(collector())
    await world.catalog.execute("collector_pause", "moving house")
    await world.store.delete_many(["_mediastore/collector"])
    with pytest.raises(CollectorRefused):
        await collector().plan()
    status = await gather_status(world.catalog, world.store, SETTINGS)
    assert [brake.code for brake in status.brakes] == ["paused", "collector_refused"]
    assert status.brakes[0].why == "moving house"


async def test_status_reads_no_table_that_grows_with_what_is_stored(world: World) -> None:
    """With sequential scans forbidden to every table but the short ones, plans use indexes."""
    grows = ("objects", "blobs", "manifests", "upload_chunks", "doomed", "garbage")
    for query in ("stage_counts", "uncounted_stages", "reclaimed_since", "recount_last"):
        statement = world.catalog.statement(query)
        arguments = {"uncounted_stages": "(10)", "reclaimed_since": "(10)"}.get(query, "")
        await world.sql.execute(f"PREPARE looked AS {statement}")
        async with world.sql.transaction():
            await world.sql.execute("SET LOCAL enable_seqscan = off")
            lines = await world.sql.fetch(f"EXPLAIN EXECUTE looked{arguments}")
        await world.sql.execute("DEALLOCATE looked")
        plan = "\n".join(line[0] for line in lines)
        for table in grows:
            assert f"Seq Scan on {table}" not in plan, query


async def test_status_names_the_share_limit_when_a_run_would_stop_there(
    world: World, collector: MakeCollector
) -> None:
    narrow = CollectionSettings(delete_share_floor_bytes=0, delete_share_max=0.5)
    await world.put([noise("kept")])
    await doom(world, collector, [noise("a")])
    await world.clock.advance(WINDOW + HOUR)
    assert await brakes_of(world, narrow) == {}
    assert (await collector(delete_share_floor_bytes=0, delete_share_max=0.5).plan()).allowed_bytes

    strict = CollectionSettings(delete_share_floor_bytes=0, delete_share_max=0.1)
    assert "a run stops" in (await brakes_of(world, strict))["delete_share"]
    with pytest.raises(CollectorRefused):
        await run(collector(delete_share_floor_bytes=0, delete_share_max=0.1))
    await run(collector())

    second = await world.put([noise("kept"), noise("x")])
    await world.trash(second)
    await world.clock.advance(DAY + HOUR)
    assert "a run may stop" in (await brakes_of(world, narrow))["delete_share"]


async def brakes_of(world: World, settings: CollectionSettings) -> dict[str, str]:
    status = await gather_status(world.catalog, world.store, settings)
    return {brake.code: brake.why for brake in status.brakes}
