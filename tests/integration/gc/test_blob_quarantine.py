"""A blob that is counted too low is put aside alone: nothing of it goes, everything else does."""

import pytest
from mediastore_gc.collection_metrics import CollectionMetrics
from mediastore_gc.explaining import Explainer
from mediastore_gc.progress import Progress
from mediastore_gc.run_counts import RunCounts
from mediastore_gc.status import due_seconds, gather_status
from prometheus_client import CollectorRegistry

from mediastore.catalog.emptying import blobs_put_aside
from mediastore.catalog.objects import Object
from mediastore.collector_errors import CollectorRefused
from mediastore.settings import CollectionSettings
from tests.collection_world import DAY, World, noise
from tests.counts_exact import assert_counts_exact
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_erasing import erase_object
from tests.integration.gc.test_stages import WINDOW, run
from tests.integration.gc.test_variants import make
from tests.integration.gc.test_verify import kinds, verify
from tests.recount_exact import assert_references_exact

SETTINGS = CollectionSettings()
UNUSED = SETTINGS.variants_unused_seconds


async def miscount(world: World, blob: bytes, refs: int) -> None:
    await world.sql.execute("UPDATE blobs SET refs = $2 WHERE hash = $1", blob, refs)


async def collect(world: World, make_collector: MakeCollector) -> RunCounts:
    """Every delay passes, with a run behind each; what they did."""
    total = RunCounts()
    for seconds in (DAY, DAY, WINDOW, DAY):
        await world.clock.advance(seconds)
        done = await run(make_collector())
        total = total.plus(
            purged_objects=done.purged_objects,
            blobs_put_aside=done.blobs_put_aside,
            deleted_keys=done.deleted_keys,
            kept_keys=done.kept_keys,
        )
    return total


async def twice(world: World) -> tuple[Object, Object]:
    """Two objects of the same content, of which one is counted."""
    made = [await world.put([noise("doubted")]) for _ in range(2)]
    await miscount(world, made[0].blob, 1)
    return made[0], made[1]


async def repaired(world: World) -> None:
    assert (await verify(world, repair=True)).findings.unmended == 0
    assert await blobs_put_aside(world.catalog) == 0
    assert kinds(await verify(world)) == {}
    await assert_references_exact(world.sql)
    await assert_counts_exact(world.sql)


@pytest.mark.parametrize("deleted", [1, 2], ids=["one is live", "both are deleted"])
async def test_only_what_is_counted_too_low_stays(
    world: World, collector: MakeCollector, deleted: int
) -> None:
    doubted = await twice(world)
    for made in doubted[:deleted]:
        await world.trash(made)
    for number in range(3):
        await world.trash(await world.put([noise(number)]))
    done = await collect(world, collector)
    assert (done.purged_objects, done.deleted_keys) == (3, 3)
    assert done.blobs_put_aside == 1, "it is met once, and passed over from then on"
    assert await world.count("objects") == 2
    assert await world.read(doubted[1].blob) == noise("doubted")
    await assert_counts_exact(world.sql)
    # Counted anew it goes the ordinary way, and no other one's object with it.
    await repaired(world)
    assert (await collect(world, collector)).purged_objects == deleted
    assert len(await world.keys()) == 2 - deleted
    await world.assert_files_read_back()


async def test_garbage_that_an_object_has_stays(world: World, collector: MakeCollector) -> None:
    kept = await world.put([noise("doubted")])
    await miscount(world, kept.blob, 0)
    await world.sql.execute("INSERT INTO garbage VALUES ($1, catalog_clock())", kept.blob)
    await world.trash(await world.put([noise("gone")]))
    done = await collect(world, collector)
    assert (done.blobs_put_aside, done.deleted_keys) == (1, 1)
    await world.assert_files_read_back()
    await repaired(world)
    assert await world.count("garbage") == 0


@pytest.mark.parametrize("refs", [0, 1], ids=["none is counted", "one is counted"])
async def test_results_of_variants_stay(world: World, collector: MakeCollector, refs: int) -> None:
    """Two variants come to the same picture, and neither is used any more; one is used."""
    source = await world.put([noise("source")])
    result = await make(world, source.blob, [noise("doubted")])
    await make(world, source.blob, [noise("doubted")], "wide")
    await make(world, source.blob, [noise("fine")], "tall")
    await miscount(world, result, refs)
    await world.clock.advance(UNUSED)
    await world.sql.execute(
        "UPDATE variants SET used_at = catalog_clock() WHERE transform = 'wide'"
    )
    done = await collect(world, collector)
    assert (done.blobs_put_aside, done.deleted_keys) == (1, 1)
    assert await world.read(result) == noise("doubted")
    await repaired(world)


async def test_operators_are_told(world: World, collector: MakeCollector) -> None:
    one, _ = await twice(world)
    await world.trash(one)
    await collect(world, collector)
    plan = await collector().plan()
    assert (plan.is_empty, plan.stages["blob_quarantine"].count) == (True, 1)
    status = await gather_status(world.catalog, world.store, SETTINGS)
    assert status.stages["blob_quarantine"].count == 1
    assert (due_seconds(status), status.overdue, status.brakes) == ({}, {}, ())
    registry = CollectorRegistry()
    metrics = CollectionMetrics(registry)
    metrics.show(plan.stages)
    metrics.observe(status)
    told = registry.get_sample_value("mediastore_collection_items", {"stage": "blob_quarantine"})
    assert told == 1
    explained = await Explainer(world.catalog, SETTINGS, Progress()).explain(one.blob)
    assert "PUT ASIDE" in explained[0].why
    assert not any(moment.expected for moment in explained[0].timeline)
    assert kinds(await verify(world)) == {"blob_refs_too_low": 1}
    # Right by another accident: it is let go of by a repair all the same.
    await miscount(world, one.blob, 2)
    assert kinds(await verify(world)) == {"blob_put_aside": 1}
    await repaired(world)


async def test_too_many_stop_everything(world: World, collector: MakeCollector) -> None:
    for number in range(2):
        made = [await world.put([noise(("doubted", number))]) for _ in range(2)]
        await miscount(world, made[0].blob, 1)
        await world.trash(made[0])
    await world.trash(await world.put([noise("gone")]))
    await world.clock.advance(DAY)
    with pytest.raises(CollectorRefused, match="2 blobs are counted too low"):
        await run(collector(blob_quarantine_max=1))
    await world.clock.advance(DAY)
    with pytest.raises(CollectorRefused, match="verify --repair"):
        await run(collector(blob_quarantine_max=1))
    assert await world.count("manifests") == 3, "nothing is removed any more"
    few = CollectionSettings(blob_quarantine_max=1)
    status = await gather_status(world.catalog, world.store, few)
    assert [brake.code for brake in status.brakes] == ["blob_quarantine"]
    assert (await run(collector(blob_quarantine_max=2))).removed_blobs == 1


@pytest.mark.parametrize("refs", [0, 1])
async def test_what_is_erased_is_counted_anew_and_goes(
    world: World, collector: MakeCollector, refs: int
) -> None:
    """It must not stay; and what somebody else has must."""
    kept, gone = await twice(world)
    await miscount(world, kept.blob, refs)
    assert (await erase_object(world, gone)).removed_at is not None
    assert await world.sql.fetchval("SELECT refs FROM blobs WHERE hash = $1", kept.blob) == 1
    await world.assert_files_read_back()
    await miscount(world, kept.blob, 0)
    assert (await erase_object(world, kept)).removed_at is not None
    assert await world.count("blobs") == 0
    await collect(world, collector)
    assert await world.keys() == set()
    await assert_counts_exact(world.sql)


async def test_an_erased_source_takes_results_that_were_counted_too_low(
    world: World, collector: MakeCollector
) -> None:
    source = await world.put([noise("source")])
    results = [
        await make(world, source.blob, [noise("doubted")], transform)
        for transform in ("card", "wide")
    ]
    assert results[0] == results[1]
    await miscount(world, results[0], 1)
    assert (await erase_object(world, source)).removed_at is not None
    await collect(world, collector)
    assert await world.keys() == set()
