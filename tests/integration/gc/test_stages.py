"""Each stage of collection, and that space comes back no sooner than it may."""

from dataclasses import asdict

import pytest
from mediastore_gc.collector import Collector
from mediastore_gc.run_counts import RunCounts

from mediastore.catalog.collection import expire_uploads
from mediastore.collector_errors import CollectorRefused
from tests.collection_world import DAY, World, leave_upload, noise
from tests.integration.gc.conftest import MakeCollector
from tests.recount_exact import assert_references_exact

HOUR = 3600
WINDOW = 7 * DAY + HOUR


async def run(collector: Collector) -> RunCounts:
    return await collector.execute(await collector.plan())


async def pass_delays(world: World, make: MakeCollector) -> None:
    """Of trash and of garbage, a run behind each: keys of what was deleted are doomed."""
    for _ in range(2):
        await world.clock.advance(DAY)
        await run(make())


async def doom(world: World, make: MakeCollector, *contents: list[bytes]) -> None:
    """Objects of these contents are stored, deleted, and their keys doomed."""
    for content in contents:
        await world.trash(await world.put(content))
    await pass_delays(world, make)
    assert await world.count("doomed") > 0


async def test_space_comes_back_after_every_delay_and_not_before(
    world: World, collector: MakeCollector
) -> None:
    kept = await world.put([noise("shared"), noise("kept")])
    made = await world.put([noise("shared"), noise("own"), noise("own")])
    await world.trash(made)
    assert len(await world.keys()) == 3

    await world.clock.advance(DAY - 1)
    assert (await run(collector())).purged_objects == 0
    await world.clock.advance(1)
    assert (await run(collector())).purged_objects == 1
    await world.clock.advance(DAY - 1)
    assert (await run(collector())).removed_blobs == 0
    await world.clock.advance(1)
    counts = await run(collector())
    assert (counts.removed_blobs, counts.released_references, counts.doomed_keys) == (1, 3, 1)
    await assert_references_exact(world.sql)
    await world.clock.advance(WINDOW - 1)
    assert (await run(collector())).deleted_keys == 0
    assert len(await world.keys()) == 3
    await world.clock.advance(1)
    counts = await run(collector())
    assert (counts.recounts, counts.deleted_keys, counts.deleted_bytes) == (1, 1, 64)
    assert len(await world.keys()) == 2
    assert await world.read(kept.blob) == world.files[kept.id]
    assert await world.count("doomed") == 0
    await assert_references_exact(world.sql)


async def test_releasing_half_of_a_chunk_s_references_leaves_the_other_half(
    world: World, collector: MakeCollector
) -> None:
    """Twice what is released: the row must be counted down, not taken for unreferenced."""
    await world.put([noise("shared"), noise("a")])
    await doom(world, collector, [noise("shared"), noise("b")])
    await assert_references_exact(world.sql)
    await world.assert_files_read_back()


async def test_a_long_list_is_released_in_batches(world: World, collector: MakeCollector) -> None:
    await world.trash(await world.put([noise(n % 7) for n in range(50)]))
    await world.clock.advance(DAY)
    await run(collector())
    await world.clock.advance(DAY)
    stepping = collector(batch_entries=8)
    await stepping.plan()
    await stepping._remove()
    for _ in range(6):
        assert await stepping._release() == 8
        await assert_references_exact(world.sql)
    assert await stepping._release() == 2
    assert await stepping._release() == 0
    await assert_references_exact(world.sql)
    assert await world.count("chunks") == 0
    assert await world.count("doomed") == 7


async def test_an_upload_of_the_same_bytes_revives_garbage(
    world: World, collector: MakeCollector
) -> None:
    content = [noise("a"), noise("b")]
    await world.trash(await world.put(content))
    await world.clock.advance(DAY)
    await run(collector())
    assert await world.count("garbage") == 1
    await world.put(content)
    await world.clock.advance(30 * DAY)
    counts = await run(collector())
    assert counts.removed_blobs == 0
    await assert_references_exact(world.sql)
    await world.assert_files_read_back()


async def test_an_upload_of_doomed_bytes_is_stored_anew_and_survives_the_old_key(
    world: World, collector: MakeCollector
) -> None:
    await doom(world, collector, [noise("a")])
    (old,) = await world.keys()
    await world.put([noise("a")])
    assert len(await world.keys()) == 2
    await world.clock.advance(WINDOW)
    counts = await run(collector())
    assert (counts.deleted_keys, counts.kept_keys) == (1, 0)
    assert old not in await world.keys()
    await world.assert_files_read_back()
    await assert_references_exact(world.sql)


async def test_a_batch_of_expired_uploads_is_bounded_in_references(world: World) -> None:
    """One transaction for a thousand huge ones would be cut off by its timeout, for ever."""
    for number in range(3):
        await leave_upload(world, [noise((number, chunk)) for chunk in range(5)])
    await world.clock.advance(8 * DAY)
    dropped = [await expire_uploads(world.catalog, 1000, entries_max=4) for _ in range(5)]
    assert [batch.entries for batch in dropped] == [4, 4, 4, 3, 0]
    assert sum(batch.uploads for batch in dropped) == 3
    await assert_references_exact(world.sql)


async def test_an_expired_upload_gives_its_chunks_back(
    world: World, collector: MakeCollector
) -> None:
    await leave_upload(world, [noise("x"), noise("y"), noise("x")])
    await assert_references_exact(world.sql)
    await world.clock.advance(DAY)
    counts = await run(collector())
    assert (counts.expired_uploads, counts.expired_bytes) == (1, 0)
    assert (counts.released_references, counts.doomed_keys) == (3, 2)
    await world.clock.advance(WINDOW)
    assert (await run(collector())).deleted_keys == 2
    assert await world.keys() == set()


async def test_an_empty_file_is_collected(world: World, collector: MakeCollector) -> None:
    await world.sql.execute(
        "INSERT INTO blobs (hash, size, refs) VALUES (sha256(''), 0, 0);"
        "INSERT INTO manifests VALUES (sha256(''), '', 1, 2, 3);"
        "INSERT INTO garbage VALUES (sha256(''), catalog_clock())"
    )
    await world.clock.advance(DAY)
    assert (await run(collector())).removed_blobs == 1
    await assert_references_exact(world.sql)


async def test_a_dry_run_changes_nothing(world: World, collector: MakeCollector) -> None:
    await doom(world, collector, [noise("a")])
    await world.trash(await world.put([noise("b")]))
    await world.clock.advance(WINDOW)
    before = await everything(world)
    plan = await collector().plan()
    assert not plan.is_empty
    assert plan.stages["trash_due"].count == 1
    assert plan.stages["doomed_unrecounted"].bytes == 64
    assert await everything(world) == before


async def everything(world: World) -> dict[str, object]:
    tables = [
        row["relname"]
        for row in await world.sql.fetch(
            "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public' ORDER BY relname"
        )
    ]
    rows: dict[str, object] = {
        table: await world.sql.fetch(f"SELECT t.*, t.xmin::text FROM {table} AS t ORDER BY 1")
        for table in tables
    }
    rows["store"] = [entry async for page in world.store.list() for entry in page]
    return rows


async def test_a_plan_is_executed_once(world: World, collector: MakeCollector) -> None:
    worker = collector()
    plan = await worker.plan()
    await worker.execute(plan)
    with pytest.raises(CollectorRefused):
        await worker.execute(plan)
    stale = await worker.plan()
    await worker.plan()
    with pytest.raises(CollectorRefused):
        await worker.execute(stale)


async def test_what_is_past_its_use_is_swept(world: World, collector: MakeCollector) -> None:
    await doom(world, collector, [noise("a")])
    await world.sql.execute(
        "INSERT INTO idempotency_keys VALUES ('acme', 'k', gen_random_uuid(), catalog_clock())"
    )
    assert await world.count("tombstones") == 1
    await world.clock.advance(WINDOW)
    counts = await run(collector())
    assert counts.swept_rows == 3
    assert await world.count("tombstones") == 0
    assert await world.count("purged_objects") == 0
    assert await world.count("recounts") == 1
    await world.clock.advance(365 * DAY)
    await run(collector())
    assert await world.count("recounts") == 1
    assert await world.count("gc_runs") == 0


async def test_runs_are_recorded(world: World, collector: MakeCollector) -> None:
    await doom(world, collector, [noise("a")])
    await world.clock.advance(WINDOW)
    counts = await run(collector())
    row = await world.sql.fetchrow("SELECT outcome, counts FROM gc_runs ORDER BY id DESC LIMIT 1")
    assert row is not None
    assert row["outcome"] == "finished"
    assert f'"deleted_bytes": {asdict(counts)["deleted_bytes"]}' in row["counts"]


async def test_blobs_with_variants_hold_nobody_up(world: World, collector: MakeCollector) -> None:
    source, other = await world.put([noise("source")]), await world.put([noise("other")])
    result = await world.put([noise("result")])
    await world.sql.execute(
        "INSERT INTO variants VALUES ($1, 't', $2, catalog_clock())", source.blob, result.blob
    )
    await world.sql.execute("UPDATE blobs SET refs = refs + 1 WHERE hash = $1", result.blob)
    await world.trash(source)
    await world.trash(other)
    await world.clock.advance(DAY)
    await run(collector())
    await world.clock.advance(DAY)
    row = await world.catalog.fetch_row("garbage_remove", 1, DAY)
    assert row is not None
    assert row["blobs"] == 1
    assert await world.count("garbage") == 1
    await assert_references_exact(world.sql)
