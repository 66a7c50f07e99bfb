"""Every planted error is found and named, nothing else is, and mending deletes nothing."""

import asyncio
import zlib
from typing import Any

import pytest
from blake3 import blake3
from mediastore_gc.counting import BucketSums, ReferenceCheck
from mediastore_gc.progress import Progress
from mediastore_gc.verify import Verified, Verify

from mediastore.catalog.auditing import HashRange, alone
from mediastore.catalog.counting import counting_snapshot
from mediastore.catalog.objects import trash_object
from mediastore.catalog.uploads import BatchChunk, create_upload, intend
from mediastore.chunkstore.keys import new_generation
from mediastore.collector_errors import CollectorRefused
from mediastore.errors import BadRequest
from tests.collection_world import DAY, TENANT, World, draft, leave_upload, noise, store_file
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_orphans import orphan
from tests.integration.gc.test_stages import WINDOW, doom, run
from tests.recount_exact import assert_references_exact

EVERYTHING = HashRange()


def name(chunk: bytes) -> bytes:
    return blake3(chunk).digest()


async def verify(
    world: World,
    *,
    range_: HashRange = EVERYTHING,
    repair: bool = False,
    resume: str | None = None,
    stop: asyncio.Event | None = None,
) -> Verified:
    audit = Verify(
        world.catalog,
        world.store,
        range_,
        repair=repair,
        stop=stop or asyncio.Event(),
        progress=Progress(),
    )
    return await audit.run(resume)


def kinds(found: Verified) -> dict[str, int]:
    return {kind.value: count for kind, count in found.findings.met.items()}


@pytest.fixture
async def filled(world: World, collector: MakeCollector) -> World:
    """Something in every table that verify looks at."""
    await doom(world, collector, [noise("doomed")])
    await world.put([noise("shared"), noise("a"), noise("a")])
    await world.put([noise("shared"), noise("b")])
    await world.trash(await world.put([noise("trash")]))
    await leave_upload(world, [noise("open"), noise("shared")])
    gone = await world.put([noise("gone"), noise("shared")])
    await world.trash(gone)
    await world.clock.advance(DAY)
    await world.sql.execute("UPDATE uploads SET expires_at = 'infinity'")
    await world.catalog.fetch_row("trash_purge", 10, None)
    await world.clock.advance(DAY)
    await world.catalog.fetch_row("garbage_remove", 1, DAY)
    assert await world.count("unlinking") > 0
    assert await world.count("garbage") > 0
    return world


async def test_a_sound_store_gives_no_finding(filled: World) -> None:
    found = await verify(filled)
    assert kinds(found) == {}
    assert found.resume is None
    assert (found.chunks, found.uploads) == (await filled.count("chunks"), 1)
    assert found.references == 5 + 2 + 1 + 2
    assert found.blobs == await filled.count("blobs")


PLANTED: list[tuple[str, str, dict[str, int]]] = [
    ("too high", "UPDATE chunks SET refs = refs + 2 WHERE hash = $1", {"refs_too_high": 1}),
    ("too low", "UPDATE chunks SET refs = refs - 1 WHERE hash = $1", {"refs_too_low": 1}),
    ("no row", "DELETE FROM chunks WHERE hash = $1", {"chunk_without_row": 1, "orphan": 1}),
    ("never stored", "UPDATE chunks SET stored = false WHERE hash = $1",
     {"chunk_never_stored": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("what", "sql", "expected"), PLANTED, ids=[case[0] for case in PLANTED])
async def test_a_wrong_chunk_is_named(
    filled: World, what: str, sql: str, expected: dict[str, int]
) -> None:
    await filled.sql.execute(sql, name(noise("a")))
    found = await verify(filled)
    assert kinds(found) == expected
    assert name(noise("a")).hex() in found.findings.shown[0].about
    everything = [await verify(filled, range_=HashRange(f"{digit:x}")) for digit in range(16)]
    assert sum(one.findings.met.total() for one in everything) == sum(expected.values())


async def test_errors_that_cancel_out_are_found(filled: World) -> None:
    """One too many here and one too few there: the sum over all of them is right."""
    await filled.sql.execute("UPDATE chunks SET refs = refs + 1 WHERE hash = $1", name(noise("a")))
    await filled.sql.execute(
        "UPDATE chunks SET refs = refs - 1 WHERE hash = $1", name(noise("shared"))
    )
    assert kinds(await verify(filled)) == {"refs_too_high": 1, "refs_too_low": 1}


async def test_few_buckets_find_as_much_as_many(filled: World) -> None:
    await filled.sql.execute("UPDATE chunks SET refs = refs + 1 WHERE hash = $1", name(noise("a")))
    async with counting_snapshot(filled.catalog, 100) as snapshot:
        check = ReferenceCheck(
            snapshot,
            EVERYTHING,
            stop=asyncio.Event(),
            progress=Progress(),
            on_bad_list=lambda doubt: pytest.fail(doubt),
            bucket_bits=1,
        )
        drifts = await check.run()
    assert [(drift.hash, drift.excess) for drift in drifts] == [(name(noise("a")), 1)]


def test_a_buckets_sum_is_zero_only_for_what_was_put_in() -> None:
    sums = BucketSums(bits=0)
    one, other = name(b"1"), name(b"2")
    sums.add(one, 3)
    sums.add(other, 1)
    sums.take([one, one, other, one])
    assert sums.uneven() == set()
    sums.take([other])
    sums.add(one, 1)
    assert sums.uneven() == {0}


async def test_bad_lists_are_named(filled: World) -> None:
    blob = await filled.sql.fetchval("SELECT blob FROM manifests WHERE length(entries) = 120")
    await filled.sql.execute(
        "UPDATE manifests SET entries = substr(entries, 1, 80) WHERE blob = $1", blob
    )
    found = await verify(filled)
    assert kinds(found) == {"bad_list": 1, "refs_too_high": 1}
    assert blob.hex() in found.findings.shown[0].about
    await filled.sql.execute("DELETE FROM manifests WHERE blob = $1", blob)
    assert kinds(await verify(filled))["bad_list"] == 1


BLOBS: list[tuple[str, str]] = [
    ("blob_refs_too_high", "UPDATE blobs SET refs = refs + 1 WHERE hash = $1"),
    ("blob_refs_too_low", "UPDATE blobs SET refs = refs - 1 WHERE hash = $1"),
    ("not_garbage", "INSERT INTO garbage VALUES ($1, catalog_clock())"),
]


@pytest.mark.parametrize(("kind", "sql"), BLOBS, ids=[case[0] for case in BLOBS])
async def test_a_wrong_blob_is_named_and_mended(filled: World, kind: str, sql: str) -> None:
    blob = await filled.sql.fetchval("SELECT blob FROM manifests WHERE length(entries) = 120")
    await filled.sql.execute(sql, blob)
    found = await verify(filled)
    assert (kinds(found), found.findings.shown[0].about) == ({kind: 1}, blob.hex())
    assert (await verify(filled, repair=True)).findings.unmended == 0
    assert kinds(await verify(filled)) == {}
    await assert_references_exact(filled.sql)


async def test_garbage_that_nobody_would_find_is_mended(filled: World) -> None:
    await filled.sql.execute("DELETE FROM garbage")
    assert kinds(await verify(filled)) == {"garbage_missing": 1}
    await verify(filled, repair=True)
    assert kinds(await verify(filled)) == {}
    await assert_references_exact(filled.sql)


async def test_what_leaks_goes_the_ordinary_way(world: World, collector: MakeCollector) -> None:
    """Mending neither lowers a count nor deletes: the rest is released by the collector."""
    made = await world.put([noise("a"), noise("b")])
    await world.sql.execute("UPDATE chunks SET refs = refs + 3 WHERE hash = $1", name(noise("a")))
    found = await verify(world, repair=True)
    assert (kinds(found), found.findings.unmended) == ({"refs_too_high": 1}, 0)
    assert kinds(await verify(world)) == {}
    await assert_references_exact(world.sql)
    await run(collector())
    await assert_references_exact(world.sql)
    await world.assert_files_read_back()
    await world.trash(made)
    for pause in (DAY, DAY, WINDOW):
        await world.clock.advance(pause)
        await run(collector())
    assert await world.keys() == set()


async def test_a_chunk_that_nothing_names_any_more_is_given_back(
    world: World, collector: MakeCollector
) -> None:
    await world.put([noise("a")])
    await world.sql.execute("DELETE FROM objects; DELETE FROM manifests; DELETE FROM blobs")
    world.files.clear()
    found = await verify(world, repair=True)
    assert kinds(found) == {"refs_too_high": 1}
    await run(collector())
    assert await world.count("doomed") == 1
    await world.clock.advance(WINDOW)
    assert (await run(collector())).deleted_keys == 1


async def test_a_count_that_is_too_low_is_raised(world: World, collector: MakeCollector) -> None:
    await world.put([noise("shared"), noise("kept")])
    gone = await world.put([noise("shared"), noise("gone")])
    await world.sql.execute("UPDATE chunks SET refs = 1 WHERE hash = $1", name(noise("shared")))
    assert (await verify(world, repair=True)).findings.unmended == 0
    await assert_references_exact(world.sql)
    await world.trash(gone)
    for pause in (DAY, DAY, WINDOW):
        await world.clock.advance(pause)
        await run(collector())
    await world.assert_files_read_back()


async def test_a_change_between_count_and_mending_keeps_every_count_exact(world: World) -> None:
    """What was counted wrong stays wrong by as much, whatever users do meanwhile."""
    await world.put([noise("a"), noise("x")])
    await world.sql.execute("UPDATE chunks SET refs = refs + 2 WHERE hash = $1", name(noise("a")))
    audit = Verify(
        world.catalog, world.store, EVERYTHING, repair=True, stop=asyncio.Event(),
        progress=Progress(),
    )  # fmt: skip
    mend = audit._note_drift

    async def late(drift: Any) -> None:
        await store_file(world.catalog, world.store, [noise("a"), noise("y")])
        await mend(drift)

    audit._note_drift = late  # type: ignore[method-assign]
    assert (await audit.run()).findings.unmended == 0
    await assert_references_exact(world.sql)


async def test_another_generation_is_not_mended(world: World) -> None:
    await world.put([noise("a")])
    row = await world.sql.fetchrow("SELECT hash, generation FROM chunks")
    assert row is not None
    mend = world.catalog.fetch_value
    assert await mend("audit_chunk_mend", row["hash"], row["generation"] ^ 1, 1) is False
    assert await mend("audit_chunk_mend", row["hash"], row["generation"], 5) is False
    assert await world.count("unlinking") == 0


async def test_two_do_not_mend_at_once(world: World) -> None:
    async with alone(world.catalog):
        with pytest.raises(CollectorRefused, match="under way"):
            await verify(world, repair=True)
        await verify(world)
    await verify(world, repair=True)


async def test_uploads_with_gaps_are_named(world: World) -> None:
    upload = await leave_upload(world, [noise("a"), noise("b"), noise("c")])
    await world.sql.execute('UPDATE chunks SET stored = true; UPDATE uploads SET "offset" = 192')
    assert kinds(await verify(world)) == {}
    await world.sql.execute("UPDATE chunks SET stored = false WHERE hash = $1", name(noise("b")))
    assert kinds(await verify(world)) == {"upload_not_stored": 1}
    await world.sql.execute("UPDATE chunks SET stored = true")
    row = await world.sql.fetchrow('DELETE FROM upload_chunks WHERE "offset" = 64 RETURNING *')
    assert row is not None
    await world.sql.execute("DELETE FROM chunks WHERE hash = $1", row["hash"])
    found = await verify(world)
    assert kinds(found) == {"upload_gap": 1, "orphan": 1}
    assert found.findings.shown[0].about == str(upload)
    await world.sql.execute("DELETE FROM upload_chunks")
    assert kinds(await verify(world))["upload_gap"] == 1


async def test_an_upload_that_is_being_rechunked_has_no_gap(world: World) -> None:
    await leave_upload(world, [noise("a"), noise("b"), noise("c")])
    await world.sql.execute('UPDATE chunks SET stored = true; UPDATE uploads SET "offset" = 192')
    joined = (noise("a") + noise("b"))[:100]
    await world.sql.execute(
        "INSERT INTO chunks (hash, generation, size, refs, stored) VALUES ($1, 1, 100, 1, true)",
        name(joined),
    )
    await world.store.put(f"chunks/{name(joined).hex()}/{1:016x}", joined, crc32=zlib.crc32(joined))
    await world.sql.execute(
        "INSERT INTO upload_chunks SELECT id, 1, 0, $1, 100 FROM uploads", name(joined)
    )
    await world.sql.execute("UPDATE uploads SET rechunked = 100")
    assert kinds(await verify(world)) == {}
    await world.sql.execute('DELETE FROM upload_chunks WHERE pass = 0 AND "offset" = 64')
    assert kinds(await verify(world))["upload_gap"] == 1


async def test_a_doomed_key_in_use_is_named(world: World) -> None:
    await world.put([noise("a")])
    await world.sql.execute(
        "INSERT INTO doomed (hash, generation, size, since)"
        " SELECT hash, generation, size, catalog_clock() FROM chunks"
    )
    assert kinds(await verify(world)) == {"doomed_key_in_use": 1}


async def test_keys_without_rows_and_rows_without_keys(world: World) -> None:
    await world.put([noise("a"), noise("b")])
    lost = min(await world.keys())
    await world.store.delete_many([lost])
    extra = await orphan(world, noise("orphan"))
    found = await verify(world)
    assert kinds(found) == {"key_missing": 1, "orphan": 1}
    assert {item.about for item in found.findings.shown} == {lost, extra}
    await verify(world, repair=True)
    assert await world.sql.fetchval("SELECT count(*) FROM chunks WHERE damaged_at IS NOT NULL") == 1
    assert extra in await world.keys(), "verify deletes nothing"
    assert kinds(await verify(world)) == {"orphan": 1}


async def test_it_goes_on_where_it_was_stopped(filled: World) -> None:
    """Stopped as soon as it looks, again and again: every step is reached, nothing met twice."""
    await filled.sql.execute("DELETE FROM garbage")
    await orphan(filled, noise("orphan"))
    first = await verify(filled, stop=_set(asyncio.Event()))
    assert first.resume == "references:"
    resume: str | None = "blobs:"
    places, met = [], 0
    while resume is not None:
        found = await verify(filled, resume=resume, stop=_set(asyncio.Event()))
        met += found.findings.met.total()
        resume = found.resume
        places.append(resume and resume.partition(":")[0])
    assert {"blobs", "uploads", "keys"} < set(places)
    assert met == 2


def _set(stop: asyncio.Event) -> asyncio.Event:
    stop.set()
    return stop


@pytest.mark.parametrize("place", ["nowhere:", "blobs:xy", "uploads:12", "blobs"])
async def test_a_place_that_no_report_said(world: World, place: str) -> None:
    if place == "blobs":
        assert (await verify(world, resume=place)).resume is None
        return
    with pytest.raises(BadRequest, match="no report"):
        await verify(world, resume=place)


async def test_work_in_flight_gives_no_false_alarm(world: World, collector: MakeCollector) -> None:
    """Uploads, deletes and collections run all the while; each verify finds nothing at all."""
    done = asyncio.Event()

    async def upload_and_delete(worker: int) -> None:
        for number in range(200):
            if done.is_set():
                return
            chunks = [noise((worker, number)), noise(("shared", number % 7))]
            made = await store_file(world.catalog, world.store, chunks)
            if number % 2:
                await trash_object(world.catalog, TENANT, made.id)

    async def open_uploads() -> None:
        for number in range(200):
            if done.is_set():
                return
            upload = await create_upload(world.catalog, draft(None), expires_seconds=DAY)
            rows = [BatchChunk(name(noise(("u", number))), 64, new_generation())]
            await intend(world.catalog, upload, rows, expires_seconds=DAY)

    async def collect() -> None:
        while not done.is_set():
            await world.catalog.fetch_row("trash_purge", 10, 0)
            await world.catalog.fetch_row("garbage_remove", 10, 0)
            await world.catalog.fetch_row("references_release", 7)

    workers = [
        asyncio.create_task(work)
        for work in (upload_and_delete(1), upload_and_delete(2), open_uploads(), collect())
    ]
    found = [await verify(world) for _ in range(5)]
    done.set()
    await asyncio.gather(*workers)
    assert [kinds(one) for one in found] == [{}] * 5
    assert sum(one.references for one in found) > 0
    await assert_references_exact(world.sql)
