"""Chunks are read back: what is bad is marked and reported with whom it hurts, and healed."""

import asyncio
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from mediastore_gc.progress import Progress
from mediastore_gc.scrub import Scrub, Scrubbed, ScrubOrder

from mediastore.catalog.auditing import HashRange
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.collector_errors import CollectorRefused
from mediastore.errors import ChunkStoreUnavailable
from tests.collection_world import World, leave_upload, noise
from tests.faults import Fault, FaultyStore
from tests.integration.gc.test_verify import name

WHOLE = ScrubOrder()
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def scrub(
    world: World,
    order: ScrubOrder = WHOLE,
    *,
    second: ChunkStore | None = None,
    mark: bool = True,
    stop: asyncio.Event | None = None,
) -> Scrubbed:
    work = Scrub(
        world.catalog,
        world.store,
        world.clock,
        second=second,
        mark=mark,
        stop=stop or asyncio.Event(),
        progress=Progress(),
    )
    return await work.run(order)


async def key_of(world: World, chunk: bytes) -> str:
    return next(key for key in await world.keys() if name(chunk).hex() in key)


async def damage(world: World, chunk: bytes) -> str:
    key = await key_of(world, chunk)
    await world.store.put(key, b"x" * 64, crc32=zlib.crc32(b"x" * 64))
    return key


async def marked(world: World) -> int:
    count: int = await world.sql.fetchval(
        "SELECT count(*) FROM chunks WHERE damaged_at IS NOT NULL"
    )
    return count


async def test_good_chunks_are_read_and_left_alone(world: World) -> None:
    await world.put([noise(n) for n in range(30)])
    await leave_upload(world, [noise("not stored")])
    found = await scrub(world)
    assert (found.chunks, found.bytes, found.bad, found.resume) == (30, 30 * 64, 0, None)
    assert await marked(world) == 0


async def test_bad_chunks_are_marked_and_their_objects_named(world: World) -> None:
    hurt = await world.put([noise("bad"), noise("good")])
    other = await world.put([noise("good"), noise("gone"), noise("gone")])
    await world.put([noise("good")])
    bad, gone = await damage(world, noise("bad")), await key_of(world, noise("gone"))
    await world.store.delete_many([gone])
    found = await scrub(world)
    assert (found.damaged, found.missing) == ([bad], [gone])
    assert [item.id for item in found.hurt.objects] == sorted([hurt.id, other.id])
    assert {(item.tenant, item.owner) for item in found.hurt.objects} == {("acme", "someone")}
    assert await marked(world) == 2
    assert (await scrub(world)).chunks == 1, "marked ones are known"
    # The next upload of the same bytes heals them.
    await world.put([noise("bad"), noise("gone")])
    assert await marked(world) == 0
    await world.assert_files_read_back()


async def test_a_dry_run_marks_nothing(world: World) -> None:
    made = await world.put([noise("bad")])
    bad = await damage(world, noise("bad"))
    found = await scrub(world, mark=False)
    assert (found.damaged, [item.id for item in found.hurt.objects]) == ([bad], [made.id])
    assert await marked(world) == 0


async def test_a_read_that_fails_once_is_no_damage(world: World) -> None:
    """The second read decides: the first may have been damaged on its way."""
    await world.put([noise("a")])

    class OnceWrong(FaultyStore):
        async def get(self, key: str) -> bytes:
            body = await super().get(key)
            return b"?" + body[1:] if self.count("get") == 1 else body

    world.store = OnceWrong(world.store)
    assert (await scrub(world)).bad == 0
    assert await marked(world) == 0


async def test_a_store_that_is_down_is_no_damage(world: World) -> None:
    await world.put([noise("a")])
    assert isinstance(world.store, FaultyStore)
    world.store.always("get", Fault(before=ChunkStoreUnavailable()))
    with pytest.raises(ChunkStoreUnavailable):
        await scrub(world)
    assert await marked(world) == 0


async def test_a_second_store_heals(world: World) -> None:
    await world.put([noise("bad"), noise("both"), noise("gone")])
    second = MemoryChunkStore()
    for key in await world.keys():
        body = await world.store.get(key)
        await second.put(key, body, crc32=zlib.crc32(body))
    bad, both = await damage(world, noise("bad")), await damage(world, noise("both"))
    gone = await key_of(world, noise("gone"))
    await world.store.delete_many([gone])
    await second.put(both, b"y" * 64, crc32=zlib.crc32(b"y" * 64))
    found = await scrub(world, second=second)
    assert sorted(found.healed) == sorted([bad, gone])
    assert await marked(world) == 1, "bad bytes of the second store heal nothing"
    assert await world.store.get(bad) == noise("bad")
    assert (await scrub(world)).chunks == 2


async def test_a_chunk_that_is_released_meanwhile_is_not_reported(world: World) -> None:
    await world.put([noise("a")])
    await damage(world, noise("a"))
    reached = Fault(gate=asyncio.Event())
    assert isinstance(world.store, FaultyStore)
    world.store.script("get", None, reached)
    scrubbing = asyncio.create_task(scrub(world))
    await reached.reached.wait()
    await world.sql.execute("DELETE FROM chunks")
    assert reached.gate is not None
    reached.gate.set()
    assert (await scrubbing).bad == 0


async def test_when_much_is_bad_it_stops_marking(world: World) -> None:
    await world.put([noise(n) for n in range(100)])
    for key in await world.keys():
        await world.store.put(key, b"zeros", crc32=zlib.crc32(b"zeros"))
    with pytest.raises(CollectorRefused, match="look at the store"):
        await scrub(world)
    assert await marked(world) == 20


async def test_samples_are_parts_and_differ(world: World) -> None:
    await world.put([noise(n) for n in range(400)])
    assert isinstance(world.store, FaultyStore)
    seen = []
    for _ in range(2):
        world.store.calls.clear()
        assert 20 < (await scrub(world, ScrubOrder(sample=0.25))).chunks < 200
        seen.append({key for operation, key in world.store.calls if operation == "get"})
    assert seen[0] != seen[1]
    assert (await scrub(world, ScrubOrder(sample=0))).chunks == 0


async def test_prefixes_share_the_work_and_after_goes_on(world: World) -> None:
    await world.put([noise(n) for n in range(60)])
    parts = [await scrub(world, ScrubOrder(HashRange(f"{digit:x}"))) for digit in range(16)]
    assert sum(part.chunks for part in parts) == 60
    stop = asyncio.Event()
    stop.set()
    first = await scrub(world, stop=stop)
    assert first.resume is not None
    second = await scrub(world, ScrubOrder(after=bytes.fromhex(first.resume)))
    assert first.chunks + second.chunks == 60


async def test_since_reads_what_new_uploads_are_made_of(world: World) -> None:
    old = await world.put([noise("old")])
    new = await world.put([noise("new"), noise("newer")])
    moment = world.clock.now()
    assert (await scrub(world, ScrubOrder(since=moment))).chunks == 0, "ids are of real time"
    began = timedelta(milliseconds=new.id.int >> 80)
    assert (await scrub(world, ScrubOrder(since=EPOCH + began))).chunks in (2, 3)
    assert (await scrub(world, ScrubOrder(since=EPOCH))).chunks == 3
    assert old.id < new.id


async def test_the_pace_is_kept(world: World) -> None:
    await world.put([noise(n) for n in range(16)])
    before = world.clock.monotonic()
    await scrub(world, ScrubOrder(rate=64))
    assert world.clock.monotonic() - before >= 15
