"""A run does no more than its limits say, whatever the number of its workers."""

import asyncio

import pytest
from mediastore_gc.collector import Collector
from mediastore_gc.limits import RunBudget, RunLimits
from mediastore_gc.plan_details import plan_details
from mediastore_gc.progress import Progress
from mediastore_gc.safety import CollectionDelays

from mediastore.settings import CollectionSettings
from tests.collection_world import DAY, World, noise
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_stages import WINDOW, doom, run
from tests.recount_exact import assert_references_exact


def limited(world: World, limits: RunLimits, **settings: object) -> Collector:
    chosen = CollectionSettings(**settings)
    return Collector(
        world.catalog,
        world.store,
        chosen,
        CollectionDelays.from_settings(chosen),
        world.clock,
        worker="limited",
        stop=asyncio.Event(),
        budget=RunBudget(limits, world.clock),
        progress=Progress(),
    )


@pytest.fixture
async def due(world: World, collector: MakeCollector) -> None:
    """Twelve doomed keys of 64 bytes past the window."""
    await doom(world, collector, *([noise((n, m)) for m in range(4)] for n in range(3)))
    await world.clock.advance(WINDOW)


@pytest.mark.usefixtures("due")
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("limits", "deleted"),
    [
        (RunLimits(objects_max=5), 5),
        (RunLimits(bytes_max=64 * 7 + 63), 7),
        (RunLimits(bytes_max=63), 0),
        (RunLimits(objects_max=5, bytes_max=64 * 3), 3),
        (RunLimits(seconds_max=0), 0),
        (RunLimits(), 12),
    ],
)
async def test_no_more_than_the_limit(
    world: World, limits: RunLimits, deleted: int, workers: int
) -> None:
    shared = RunLimits(limits.bytes_max, limits.objects_max, limits.seconds_max, None, workers)
    counts = await run(limited(world, shared, batch_keys=2))
    # Bytes that are shared out among workers may leave each less than a whole key.
    least = deleted if workers == 1 or limits.bytes_max is None else max(0, deleted - workers)
    assert least <= counts.deleted_keys <= deleted
    assert len(await world.keys()) == 12 - counts.deleted_keys
    await assert_references_exact(world.sql)


async def test_no_more_objects_leave_the_trash(world: World) -> None:
    for n in range(5):
        await world.trash(await world.put([noise(n)]))
    await world.clock.advance(DAY)
    counts = await run(limited(world, RunLimits(objects_max=3)))
    assert counts.purged_objects == 3
    worker = limited(world, RunLimits(objects_max=1))
    assert (await run(worker)).purged_objects == 1
    assert (await run(worker)).purged_objects == 0, "one budget for every pass"
    worker.renew_budget()
    assert (await run(worker)).purged_objects == 1


@pytest.mark.usefixtures("due")
async def test_a_rate_makes_it_wait_between_batches(world: World) -> None:
    before = world.clock.monotonic()
    counts = await run(limited(world, RunLimits(rate=1), batch_keys=1000))
    assert counts.deleted_keys == 12
    assert world.clock.monotonic() - before == 12


async def test_a_plan_by_tenant_by_age_and_in_requests(
    world: World, collector: MakeCollector, due: None
) -> None:
    await world.trash(await world.put([noise("trash", 100)]))
    await world.clock.advance(9 * DAY)
    plan = await collector().plan()
    delays = CollectionDelays.from_settings(CollectionSettings())
    details = await plan_details(world.catalog, plan, delays, batch_keys=5)
    assert [(each.tenant, each.trash_objects, each.trash_bytes) for each in details.tenants] == [
        ("acme", 1, 100)
    ]
    assert {(age.stage, age.days_under): age.count for age in details.ages} == {
        ("trash", 30): 1,
        ("doomed", 30): 12,
    }
    requests = details.requests
    assert (requests.delete_many, requests.marker_reads, requests.marker_writes) == (3, 6, 3)
    assert requests.recount_chunks == 1
