"""INV-7: what a recount has not cleared is not claimed, whatever the counts say."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from blake3 import blake3
from mediastore_gc.collector import Collector
from mediastore_gc.run_counts import RunCounts

from mediastore.catalog import recount as references
from mediastore.catalog.emptying import purge_trash, remove_garbage
from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.collector_errors import DatabaseRestored, RecountFailed
from mediastore.errors import InvariantBroken
from tests.collection_world import DAY, World, leave_upload, noise
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_stages import WINDOW, doom, pass_delays, run


def name(chunk: bytes) -> bytes:
    return blake3(chunk).digest()


async def collect_to_the_end(world: World, make: MakeCollector) -> RunCounts:
    """Trash, garbage, doomed: each delay passes; what the last run did."""
    await pass_delays(world, make)
    await world.clock.advance(WINDOW)
    return await run(make())


async def set_refs(world: World, chunk: bytes, refs: int) -> None:
    await world.sql.execute("UPDATE chunks SET refs = $2 WHERE hash = $1", name(chunk), refs)


async def test_a_count_that_is_too_low_costs_space_and_no_byte(
    world: World, collector: MakeCollector
) -> None:
    kept = await world.put([noise("shared"), noise("kept")])
    gone = await world.put([noise("shared"), noise("gone")])
    await set_refs(world, noise("shared"), 1)
    await world.trash(gone)
    counts = await collect_to_the_end(world, collector)
    assert (counts.deleted_keys, counts.kept_keys) == (1, 1)
    names = {key.split("/")[1] for key in await world.keys()}
    assert name(noise("shared")).hex() in names, "the byte that the row's count gave away"
    plan = await collector().plan()
    assert plan.stages["doomed_kept"].count == 1
    assert plan.is_empty, "a kept key waits for the next recount, it is not asked for again"
    # A new upload of the bytes stores them anew; then the old key may go, and the file is whole.
    await world.put([noise("shared"), noise("third")])
    await collector().recount()
    assert (await run(collector())).deleted_keys == 1
    assert await world.read(kept.blob) == world.files[kept.id]


async def test_a_count_that_is_too_low_in_an_open_upload_is_met_as_well(
    world: World, collector: MakeCollector
) -> None:
    await leave_upload(world, [noise("shared")])
    await world.sql.execute("UPDATE uploads SET expires_at = 'infinity'")
    await world.trash(await world.put([noise("shared")]))
    await set_refs(world, noise("shared"), 1)
    counts = await collect_to_the_end(world, collector)
    assert (counts.deleted_keys, counts.kept_keys) == (0, 1)
    assert len(await world.keys()) == 1


async def put_with_a_key_doomed_too_early(world: World, collector: MakeCollector) -> Object:
    """Its chunk `shared` was miscounted, went with another object, and was kept by the recount."""
    last = await world.put([noise("shared"), noise("last")])
    gone = await world.put([noise("shared"), noise("gone")])
    await set_refs(world, noise("shared"), 1)
    await world.trash(gone)
    assert (await collect_to_the_end(world, collector)).kept_keys == 1
    return last


async def test_a_key_that_was_doomed_too_early_waits_its_window_from_the_last_reference(
    world: World, collector: MakeCollector
) -> None:
    """Inside the window a restore brings the last object back, and its bytes must be there."""
    last = await put_with_a_key_doomed_too_early(world, collector)
    await world.trash(last)
    await pass_delays(world, collector)
    await collector().recount()
    assert (await run(collector())).deleted_keys == 0
    assert len(await world.keys()) == 2
    await world.clock.advance(WINDOW)
    await collector().recount()
    assert (await run(collector())).deleted_keys == 2
    assert await world.keys() == set()


async def test_a_pass_that_has_begun_before_the_last_reference_went_clears_nothing(
    world: World, collector: MakeCollector
) -> None:
    last = await put_with_a_key_doomed_too_early(world, collector)
    await world.trash(last)
    await collector().recount()
    await pass_delays(world, collector)
    rows = await world.sql.fetch(
        "SELECT d.hash FROM doomed AS d, recounts AS r WHERE r.finished_at IS NOT NULL AND"
        " pg_visible_in_snapshot(d.transaction, r.snapshot) AND d.hash = $1",
        name(noise("shared")),
    )
    assert rows == []


async def test_a_count_that_is_too_high_costs_space(world: World, collector: MakeCollector) -> None:
    made = await world.put([noise("a")])
    await set_refs(world, noise("a"), 5)
    await world.trash(made)
    await collect_to_the_end(world, collector)
    assert len(await world.keys()) == 1


async def test_references_that_do_not_fit_their_row_are_quarantined(
    world: World, collector: MakeCollector
) -> None:
    await world.put([noise("live")])
    made = await world.put([noise("twice"), noise("twice"), noise("fits"), noise("rowless")])
    await set_refs(world, noise("twice"), 1)
    await world.sql.execute("DELETE FROM chunks WHERE hash = $1", name(noise("rowless")))
    await world.trash(made)
    counts = await collect_to_the_end(world, collector)
    assert counts.deleted_keys == 1
    rows = await world.sql.fetch("SELECT hash, released, refs FROM quarantine ORDER BY released")
    assert [tuple(row) for row in rows] == [
        (name(noise("rowless")), 1, None),
        (name(noise("twice")), 2, 1),
    ]
    assert len(await world.keys()) == 3


async def test_a_quarantined_hash_is_never_deleted(world: World, collector: MakeCollector) -> None:
    """Not even when what is left of its count happens to fit what is released."""
    await world.put([noise("live")])
    made = [await world.put([noise("shared"), noise(number)]) for number in range(3)]
    await set_refs(world, noise("shared"), 1)
    for gone in made[:2]:
        await world.trash(gone)
    await collect_to_the_end(world, collector)
    assert await world.count("quarantine") == 1
    await world.trash(made[2])
    counts = await collect_to_the_end(world, collector)
    assert counts.deleted_keys == 1
    assert any(name(noise("shared")).hex() in key for key in await world.keys())
    assert len(await world.keys()) == 2


@pytest.mark.parametrize(
    "step", ["upload_chunk_pages", "unlinking_pieces", "manifest_pieces", "doomed_pages"]
)
async def test_references_that_move_during_a_pass_are_met_wherever_it_stands(
    world: World, collector: MakeCollector, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A blob is removed just before any step: its references go from the manifest to unlinking."""
    await world.put([noise("live")])
    gone, going = [await world.put([noise("shared"), noise(number)]) for number in range(2)]
    await set_refs(world, noise("shared"), 1)
    await world.trash(gone)
    await world.clock.advance(DAY)
    await run(collector())
    await world.clock.advance(DAY)
    await run(collector())
    await world.trash(going)
    await world.clock.advance(DAY)
    await purge_trash(world.catalog, 10, trash_seconds=None)
    assert await world.count("doomed") == 2
    real = getattr(references, step)

    async def after_a_removal(*arguments: Any, **named: Any) -> AsyncGenerator[Any, None]:
        assert (await remove_garbage(world.catalog, 10, revive_seconds=0)).blobs == 1
        async for piece in real(*arguments, **named):
            yield piece

    monkeypatch.setattr(references, step, after_a_removal)
    report = await collector().recount()
    assert report is not None
    assert report.hashes_seen == 1


async def test_a_pass_of_another_server_clears_nothing_of_this_one(
    world: World, collector: MakeCollector
) -> None:
    """A database that was dumped and loaded elsewhere: transaction numbers begin anew there."""
    await doom(world, collector, [noise("old")])
    await world.clock.advance(WINDOW)
    assert (await run(collector())).deleted_keys == 1
    await doom(world, collector, [noise("new")])
    await world.sql.execute("UPDATE doomed SET transaction = '3'")
    await world.clock.advance(WINDOW)
    counts = await run(collector())
    assert (counts.recounts, counts.deleted_keys) == (1, 1)


async def test_a_pass_clears_only_what_was_doomed_before_it_began(
    world: World, collector: MakeCollector, dsn: str
) -> None:
    """The row's time is long past, its transaction commits only after the pass has begun."""
    await doom(world, collector, [noise("early")])
    await world.clock.advance(WINDOW)
    late = await asyncpg.connect(dsn)
    transaction = late.transaction()
    await transaction.start()
    await late.execute(
        "INSERT INTO doomed (hash, generation, size, since) VALUES ($1, 7, 1, '2030-01-01')",
        name(b"late"),
    )
    await collector().recount()
    await transaction.commit()
    await late.close()
    plan = await collector().plan()
    assert plan.stages["doomed_due"].count == 1
    assert plan.stages["doomed_unrecounted"].count == 1
    claimed = await claim(world)
    assert claimed == [name(noise("early"))]
    assert (await run(collector())).recounts == 1


async def claim(world: World, *, marker_counter: int = 0) -> list[bytes]:
    life = await world.sql.fetchval("SELECT incarnation FROM gc_state")
    row = await world.catalog.fetch_row(
        "doomed_claim", life, marker_counter, world.clock.now(), 300.0, WINDOW, 1000, 1 << 40, 900
    )
    assert row is not None
    hashes: list[bytes] = row["hashes"]
    return hashes


async def test_without_a_finished_recount_nothing_is_claimed(
    world: World, collector: MakeCollector
) -> None:
    await doom(world, collector, [noise("a")])
    await world.clock.advance(WINDOW)
    assert await claim(world) == []
    await world.sql.execute(
        "INSERT INTO recounts (incarnation, snapshot, started_at)"
        "SELECT incarnation, pg_current_snapshot(), now() FROM gc_state"
    )
    assert await claim(world) == [], "begun, not finished"
    await world.sql.execute(
        "UPDATE recounts SET finished_at = now(), incarnation = gen_random_uuid()"
    )
    assert await claim(world) == [], "of another incarnation"
    await collector().recount()
    assert await claim(world) == [name(noise("a"))]
    assert await claim(world) == [], "claimed already"


async def test_a_cleared_key_is_claimed_no_sooner_than_the_window_ends(
    world: World, collector: MakeCollector
) -> None:
    await doom(world, collector, [noise("a")])
    await collector().recount()
    await world.clock.advance(WINDOW - 1)
    assert await claim(world) == []
    await world.clock.advance(1)
    with pytest.raises(DatabaseRestored):
        await claim(world, marker_counter=1)
    assert await claim(world) == [name(noise("a"))]


async def test_a_doomed_key_that_is_in_use_stops_every_claim(
    world: World, collector: MakeCollector
) -> None:
    await doom(world, collector, [noise("a")])
    await world.sql.execute("INSERT INTO chunks SELECT hash, generation, size, 1, true FROM doomed")
    await world.clock.advance(WINDOW)
    with contextlib.suppress(RecountFailed):
        await collector().recount()
    await world.sql.execute(
        "UPDATE recounts SET finished_at = now(), references_read = 1, manifests_read = 1"
    )
    with pytest.raises(InvariantBroken, match="INV-3"):
        await claim(world)


DAMAGE = {
    "a manifest is missing": "DELETE FROM manifests",
    "an entry is cut": "ALTER TABLE manifests DROP CONSTRAINT manifests_entries_are_whole;"
    "UPDATE manifests SET entries = substr(entries, 1, length(entries) - 1)",
    "the last entry is missing": "UPDATE manifests SET entries = "
    "substr(entries, 1, length(entries) - 40)",
    "all entries are missing": "UPDATE manifests SET entries = ''",
    "entries are out of order": "UPDATE manifests SET entries = "
    "substr(entries, 41) || substr(entries, 1, 40)",
    "a blob's size is wrong": "UPDATE blobs SET size = size + 1",
    "blobs are gone": "ALTER TABLE manifests DROP CONSTRAINT manifests_blob_fkey;"
    "ALTER TABLE objects DROP CONSTRAINT objects_blob_fkey; DELETE FROM blobs",
    "all references are gone": "DELETE FROM objects; DELETE FROM manifests; DELETE FROM blobs",
}


@pytest.mark.parametrize("entries", [2, 300])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_any_doubt_means_that_nothing_is_deleted(
    world: World, collector: MakeCollector, damage: str, entries: int
) -> None:
    await doom(world, collector, [noise("gone")])
    await world.put([noise(n) for n in range(entries)])
    await world.clock.advance(WINDOW)
    await world.sql.execute(damage)
    with pytest.raises(RecountFailed):
        await run(collector())
    assert (
        await world.sql.fetchval("SELECT count(*) FROM recounts WHERE finished_at > '-infinity'")
        == 0
    )
    assert any(name(noise("gone")).hex() in key for key in await world.keys())


async def test_a_page_that_is_lost_is_noticed(
    world: World, collector: MakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    await doom(world, collector, [noise("gone")])
    await world.put([noise("a")])
    await world.clock.advance(WINDOW + DAY)

    async def none_at_all(*_: object, **__: object) -> AsyncGenerator[references.ListPiece, None]:
        nothing: tuple[references.ListPiece, ...] = ()
        for piece in nothing:
            yield piece

    monkeypatch.setattr(references, "manifest_pieces", none_at_all)
    await leave_upload(world, [noise("b")])
    with pytest.raises(RecountFailed, match="manifests"):
        await run(collector())


async def test_a_pass_that_began_on_another_server_clears_nothing(
    world: World, collector: MakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover may lose a commit that moved a reference past where the pass has read."""
    await doom(world, collector, [noise("gone")])
    await world.clock.advance(WINDOW)
    start_recount = references.start_recount

    async def start_on_the_old_primary(
        catalog: Catalog, incarnation: UUID
    ) -> references.RecountStart | None:
        start = await start_recount(catalog, incarnation)
        if start is None:
            return None
        return replace(start, server_started_at=start.server_started_at - timedelta(days=1))

    monkeypatch.setattr(references, "start_recount", start_on_the_old_primary)
    with pytest.raises(RecountFailed, match="server"):
        await run(collector())
    assert any(name(noise("gone")).hex() in key for key in await world.keys())
    monkeypatch.undo()
    assert (await run(collector())).deleted_keys == 1


async def test_long_and_many_lists_are_read_whole(world: World, collector: MakeCollector) -> None:
    """More entries than a page, a list as long as several pages, lists on their way out."""
    await world.put([noise(n) for n in range(450)])
    for n in range(120):
        await world.put([noise(n), noise(n + 1)])
    await world.trash(await world.put([noise(n) for n in range(300)]))
    await leave_upload(world, [noise(n) for n in range(130)])
    await world.clock.advance(DAY - 1)
    await world.sql.execute("UPDATE uploads SET expires_at = 'infinity'")
    await world.clock.advance(1)
    stepping = collector(batch_entries=50)
    await stepping.plan()
    await stepping._purge()
    await world.clock.advance(DAY)
    await stepping._remove()
    await stepping._release()
    expected = 450 + 240 + 250 + 130
    report = await collector(recount_page_entries=100).recount()
    assert report is not None
    assert (report.references_read, report.manifests_read) == (expected, 121)
    sum_of_refs = await world.sql.fetchval("SELECT sum(refs) FROM chunks")
    assert sum_of_refs == expected


async def test_the_pace_is_kept(world: World, collector: MakeCollector) -> None:
    for n in range(30):
        await world.put([noise((n, m)) for m in range(10)])
    before = world.clock.monotonic()
    await collector(recount_rate_rows_per_second=20).recount()
    assert 10 <= world.clock.monotonic() - before <= 15


async def test_a_stop_leaves_the_pass_unfinished(world: World, collector: MakeCollector) -> None:
    await doom(world, collector, [noise("a")])
    await world.put([noise("b")])
    await world.clock.advance(WINDOW)
    stop = asyncio.Event()
    worker: Collector = collector(stop=stop)
    await worker.plan()
    stop.set()
    assert await worker.recount() is None
    assert await claim(world) == []
