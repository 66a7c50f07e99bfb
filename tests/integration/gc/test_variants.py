"""Variants are references like any others: counted, collected with their source, erased with it."""

import asyncio
from collections.abc import Sequence

import pytest
from blake3 import blake3
from mediastore_gc.run_counts import RunCounts

from mediastore.catalog import variants
from mediastore.catalog.erasing import Scope
from mediastore.catalog.holds import add_hold, remove_hold
from mediastore.catalog.objects import Object, restore_object
from mediastore.catalog.uploads import BatchChunk, UploadDraft, new_epoch
from mediastore.catalog.variants import (
    NOBODY,
    Computation,
    Picture,
    find_variants,
    new_computation,
    take_computation,
)
from mediastore.chunkstore.keys import new_generation
from mediastore.errors import NotFound, UploadTaken
from mediastore.settings import CollectionSettings
from tests.collection_world import CHUNKING, DAY, TENANT, World, born, draft, noise, put_missing
from tests.counts_exact import assert_counts_exact
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_erasing import erase
from tests.integration.gc.test_stages import WINDOW, run
from tests.integration.gc.test_verify import kinds, verify
from tests.recount_exact import assert_references_exact

PICTURE = Picture(90, 60, 1)
UNUSED = CollectionSettings().variants_unused_seconds
LEASE = 60.0


def named(chunk: bytes) -> bytes:
    return blake3(chunk).digest()


async def taken(world: World, source: bytes, transform: str = "card") -> Computation:
    wanted = new_computation(source, transform)
    found = await take_computation(world.catalog, wanted, lease_seconds=LEASE)
    assert found.state == "taken"
    return wanted


class Half:
    """A computation that has its intent and its PUTs, and is not finished."""

    def __init__(self, world: World, computation: Computation, chunks: Sequence[bytes]) -> None:
        self.world = world
        self.computation = computation
        self.chunks = chunks
        self.result = named(b"".join(chunks))
        length = sum(map(len, chunks))
        said = draft(length)
        self.draft = UploadDraft(
            said.id, NOBODY, computation.blob.hex(), "card", "image/webp", {}, "raw", length
        )
        self.upload = born(self.draft, new_epoch(), length)

    async def begin(self) -> bool:
        """False: its blob was there, and the variant is made."""
        rows = [BatchChunk(named(c), len(c), new_generation()) for c in self.chunks]
        begun = await variants.begin_variant(
            self.world.catalog,
            self.computation,
            PICTURE,
            self.draft,
            epoch=self.upload.epoch,
            result=self.result,
            size=self.upload.length or 0,
            chunks=rows,
        )
        if begun is None:
            return False
        bodies = {named(chunk): chunk for chunk in self.chunks}
        self.committed = await put_missing(self.world.store, bodies, begun)
        return True

    async def finish(self) -> bytes:
        await variants.finish_variant(
            self.world.catalog,
            self.computation,
            PICTURE,
            self.upload,
            result=self.result,
            size=self.upload.length or 0,
            chunks=self.committed,
            chunking=CHUNKING,
        )
        return self.result


async def make(
    world: World, source: bytes, chunks: Sequence[bytes], transform: str = "card"
) -> bytes:
    """A variant of these chunks; its result."""
    half = Half(world, await taken(world, source, transform), chunks)
    return await half.finish() if await half.begin() else half.result


async def assert_exact(world: World) -> None:
    await assert_references_exact(world.sql)
    await assert_counts_exact(world.sql)
    await world.assert_files_read_back()
    assert kinds(await verify(world)) == {}


async def collect(world: World, collector: MakeCollector, seconds: float) -> RunCounts:
    """Time passes, and collectors run until there is nothing left to do."""
    await world.clock.advance(seconds)
    total = RunCounts()
    while (done := await run(collector())).did_something:
        total = total.plus(
            released_variants=done.released_variants,
            removed_blobs=done.removed_blobs,
            deleted_keys=done.deleted_keys,
            kept_keys=done.kept_keys,
        )
        await assert_exact(world)
    return total


@pytest.fixture
async def source(world: World) -> Object:
    return await world.put([noise("source")])


async def test_a_variant_is_a_reference_that_every_count_knows(
    world: World, source: Object
) -> None:
    result = await make(world, source.blob, [noise("a"), noise("b")])
    assert await world.read(result) == noise("a") + noise("b")
    (found,) = (await find_variants(world.catalog, source.blob, ["card", "other"])).values()
    assert (found.result, found.size, found.width, found.frames) == (result, 128, 90, 1)
    assert await world.sql.fetchval("SELECT refs FROM blobs WHERE hash = $1", result) == 1
    assert await world.count("objects") == 1
    assert await world.count("uploads") == await world.count("events") == 0
    await assert_exact(world)


async def test_what_is_there_already_is_linked_and_stored_once(
    world: World, source: Object
) -> None:
    other = await world.put([noise("other")])
    file = await world.put([noise("a")])
    results = [
        await make(world, source.blob, [noise("a")]),
        await make(world, source.blob, [noise("a")], "wide"),
        await make(world, other.blob, [noise("a")]),
    ]
    assert set(results) == {file.blob}
    assert await world.sql.fetchval("SELECT refs FROM blobs WHERE hash = $1", file.blob) == 4
    assert len(await world.keys()) == 3
    await assert_exact(world)


async def test_a_recount_keeps_what_only_a_variant_needs(
    world: World, source: Object, collector: MakeCollector
) -> None:
    """INV-7: a count that is wrong costs space; the recount sees the variant's manifest."""
    await make(world, source.blob, [noise("a")])
    hash_ = named(noise("a"))
    await world.sql.execute(
        "WITH gone AS (DELETE FROM chunks WHERE hash = $1 RETURNING *)"
        "INSERT INTO doomed (hash, generation, size, since)"
        " SELECT hash, generation, size, catalog_clock() FROM gone",
        hash_,
    )
    await world.clock.advance(WINDOW + DAY)
    counts = await run(collector())
    assert (counts.kept_keys, counts.deleted_keys) == (1, 0)
    assert len(await world.keys()) == 2


async def test_a_variant_goes_with_its_source(
    world: World, source: Object, collector: MakeCollector
) -> None:
    await make(world, source.blob, [noise("a")])
    await make(world, source.blob, [noise("b")], "wide")
    await world.trash(source)
    await collect(world, collector, DAY)
    assert await world.count("variants") == 2, "its source may come back"
    counts = await collect(world, collector, DAY)
    assert (counts.released_variants, counts.removed_blobs) == (2, 1)
    assert len(await world.keys()) == 3
    assert (await collect(world, collector, DAY)).removed_blobs == 2
    assert (await collect(world, collector, WINDOW)).deleted_keys == 3
    assert await world.keys() == set()
    assert await world.count("blobs") == await world.count("doomed") == 0
    await collect(world, collector, WINDOW + 2 * DAY)
    assert await world.count("released_variants") == 0


async def test_a_source_that_comes_back_has_its_variants(
    world: World, source: Object, collector: MakeCollector
) -> None:
    result = await make(world, source.blob, [noise("a")])
    await world.trash(source)
    await collect(world, collector, DAY / 2)
    assert await restore_object(world.catalog, TENANT, source.id) is not None
    await collect(world, collector, 3 * DAY)
    assert await world.read(result) == noise("a")


async def test_what_nobody_uses_goes_and_what_is_used_stays(
    world: World, source: Object, collector: MakeCollector
) -> None:
    kept = await make(world, source.blob, [noise("a")])
    await make(world, source.blob, [noise("b")], "wide")
    await collect(world, collector, UNUSED - DAY)
    assert len(await find_variants(world.catalog, source.blob, ["card"])) == 1
    counts = await collect(world, collector, DAY)
    assert counts.released_variants == 1
    assert await world.sql.fetchval("SELECT result FROM variants") == kept
    assert await world.read(source.blob) == noise("source")
    again = await make(world, source.blob, [noise("b")], "wide")
    assert again == named(noise("b")), "it came back from garbage"
    await assert_exact(world)


async def test_a_result_that_is_somebodys_object_stays(
    world: World, source: Object, collector: MakeCollector
) -> None:
    result = await make(world, source.blob, [noise("a")])
    file = await world.put([noise("a")])
    assert file.blob == result
    await world.trash(source)
    for _ in range(4):
        await collect(world, collector, WINDOW)
    assert await world.read(result) == noise("a")
    assert await world.count("variants") == 0


async def test_a_held_source_keeps_its_variants(
    world: World, source: Object, collector: MakeCollector
) -> None:
    await make(world, source.blob, [noise("a")])
    await world.trash(source)
    await collect(world, collector, DAY)
    hold = await add_hold(world.catalog, tenant=TENANT, owner=None, object_=None, why="case 7")
    for _ in range(3):
        await collect(world, collector, 5 * DAY)
    assert await world.count("variants") == 1
    await remove_hold(world.catalog, hold.hold)
    await collect(world, collector, 0)
    assert await world.count("variants") == 0


# One at a time


async def test_one_computation_at_a_time(world: World, source: Object) -> None:
    first = await taken(world, source.blob)
    second = new_computation(source.blob, "card")
    assert (await take_computation(world.catalog, second, lease_seconds=LEASE)).state == "busy"
    await world.clock.advance(LEASE)
    assert (await take_computation(world.catalog, second, lease_seconds=LEASE)).state == "taken"
    late = Half(world, first, [noise("late")])
    with pytest.raises(UploadTaken):
        await late.begin()
    half = Half(world, second, [noise("a")])
    assert await half.begin()
    third = new_computation(source.blob, "card")
    await half.finish()
    assert (await take_computation(world.catalog, third, lease_seconds=LEASE)).state == "made"
    assert await world.count("variant_jobs") == 0
    await assert_exact(world)


async def test_who_is_overtaken_while_it_stores_finishes_nothing(
    world: World, source: Object, collector: MakeCollector
) -> None:
    slow = Half(world, await taken(world, source.blob), [noise("slow")])
    assert await slow.begin()
    await world.clock.advance(LEASE)
    result = await make(world, source.blob, [noise("quick")])
    with pytest.raises(UploadTaken):
        await slow.finish()
    assert await world.sql.fetchval("SELECT result FROM variants") == result
    await assert_exact(world)
    await collect(world, collector, DAY)
    assert await world.count("uploads") == 0, "what it left expires like any upload"


@pytest.mark.parametrize("kind", ["same bytes", "other bytes"])
async def test_a_result_that_is_damaged_is_made_again(
    world: World, source: Object, kind: str
) -> None:
    first = await make(world, source.blob, [noise("a")])
    await world.sql.execute(
        "UPDATE chunks SET damaged_at = catalog_clock() WHERE hash = $1", named(noise("a"))
    )
    second = await make(world, source.blob, [noise("a" if kind == "same bytes" else "b")])
    assert (first == second) == (kind == "same bytes")
    assert await world.sql.fetchval("SELECT result FROM variants") == second
    await world.read(second)
    await assert_references_exact(world.sql)


async def test_nothing_is_made_of_what_is_on_its_way_out(
    world: World, source: Object, collector: MakeCollector
) -> None:
    half = Half(world, await taken(world, source.blob), [noise("a")])
    assert await half.begin()
    await world.trash(source)
    await world.clock.advance(DAY)
    await world.sql.execute("UPDATE uploads SET expires_at = 'infinity'")
    await world.sql.execute("UPDATE variant_jobs SET until = 'infinity'")
    await run(collector())
    with pytest.raises(NotFound):
        await half.finish()
    late = new_computation(source.blob, "wide")
    await take_computation(world.catalog, late, lease_seconds=LEASE)
    with pytest.raises(NotFound):
        await Half(world, late, [noise("a")]).begin()


async def test_everything_at_once_leaves_every_count_exact(
    world: World, collector: MakeCollector
) -> None:
    """Computations of the same few results, deletions and collectors, all at the same time."""
    files = [await world.put([noise(("file", number))]) for number in range(4)]

    async def computing(seed: int) -> None:
        for turn in range(12):
            of = files[(seed + turn) % 4]
            wanted = new_computation(of.blob, f"t{turn % 3}")
            found = await take_computation(world.catalog, wanted, lease_seconds=LEASE)
            if found.state != "taken":
                continue
            half = Half(world, wanted, [noise(("result", (seed * turn) % 5))])
            try:
                if await half.begin() and turn % 5 != 4:
                    await half.finish()
            except (NotFound, UploadTaken):
                pass

    async def collecting() -> None:
        for _ in range(10):
            await variants.release_variants(world.catalog, 3, revive_seconds=0, unused_seconds=0)
            await world.catalog.fetch_row("garbage_remove", 2, 0)
            await asyncio.sleep(0)

    await asyncio.gather(*(computing(seed) for seed in range(4)), collecting(), collecting())
    await assert_references_exact(world.sql)
    for file in files:
        await world.trash(file)
    for _ in range(4):
        await world.sql.execute("UPDATE uploads SET expires_at = '-infinity'")
        await collect(world, collector, WINDOW)
    assert await world.keys() == set()


# Erasure


async def erased(world: World, collector: MakeCollector, of: Object) -> None:
    """Erase it, and let collectors run once, with no time passing but for a recount."""
    world.files.pop(of.id, None)
    erasure = await erase(world, Scope(TENANT, None, of.id))
    assert erasure.removed_at is not None
    await collect(world, collector, 0)
    await collect(world, collector, CollectionSettings().erasure_wait_seconds)
    await collect(world, collector, 0)


async def test_variants_are_erased_with_their_source(
    world: World, source: Object, collector: MakeCollector
) -> None:
    await make(world, source.blob, [noise("a")])
    await make(world, source.blob, [noise("b")], "wide")
    await erased(world, collector, source)
    assert await world.keys() == set()
    assert await world.count("variants") == await world.count("released_variants") == 0
    assert await world.sql.fetchval("SELECT finished_at IS NOT NULL FROM erasures")


async def test_a_result_that_was_released_before_is_erased_as_well(
    world: World, source: Object, collector: MakeCollector
) -> None:
    await make(world, source.blob, [noise("a")])
    await collect(world, collector, UNUSED)
    await collect(world, collector, DAY)
    assert await world.count("doomed") == 1
    await erased(world, collector, source)
    assert await world.keys() == set()


async def test_a_result_that_was_damaged_and_replaced_is_erased_as_well(
    world: World, source: Object, collector: MakeCollector
) -> None:
    await make(world, source.blob, [noise("a")])
    await world.sql.execute(
        "UPDATE chunks SET damaged_at = catalog_clock() WHERE hash = $1", named(noise("a"))
    )
    await make(world, source.blob, [noise("b")])
    await erased(world, collector, source)
    assert await world.keys() == set()


async def test_an_upload_that_was_to_become_a_variant_is_erased(
    world: World, source: Object, collector: MakeCollector
) -> None:
    half = Half(world, await taken(world, source.blob), [noise("a")])
    assert await half.begin()
    await erased(world, collector, source)
    assert await world.keys() == set()
    assert await world.count("uploads") == 0
    with pytest.raises((NotFound, UploadTaken)):
        await half.finish()


async def test_what_others_have_as_well_stays_with_its_variants(
    world: World, source: Object, collector: MakeCollector
) -> None:
    again = await world.put([noise("source")])
    result = await make(world, source.blob, [noise("a")])
    await erased(world, collector, source)
    assert await world.read(again.blob) == noise("source")
    assert await world.read(result) == noise("a")


async def test_a_result_that_is_anothers_object_is_not_erased(
    world: World, source: Object, collector: MakeCollector
) -> None:
    result = await make(world, source.blob, [noise("a")])
    await world.put([noise("a")])
    await erased(world, collector, source)
    assert await world.read(result) == noise("a")
    assert len(await world.keys()) == 1
