"""Single flight, cancellation, and where the memory of a chunk is counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mediastore.catalog.reading import ChunkPlace
from mediastore.clock import SystemClock
from mediastore.delivery.cache import ChunkCache
from mediastore.delivery.chunks import Arrived, Chunks
from mediastore.delivery.held import HeldChunk
from mediastore.delivery.spool import Spool
from mediastore.errors import ContentDamaged, Overloaded, StorageFull
from mediastore.memory import MemoryBudget
from mediastore.settings import MIB, MemorySettings
from mediastore.telemetry.metrics import Metrics
from tests.integration.service import until

SIZE = MIB


def place(number: int) -> ChunkPlace:
    return ChunkPlace(number.to_bytes(32, "big"), 0, SIZE, 1)


def content(number: int) -> bytes:
    return number.to_bytes(4, "big") * (SIZE // 4)


class Bench:
    """Chunks over a fetch that waits until it is let through."""

    def __init__(self, *, cache_bytes: int, budget_bytes: int, spool: Spool, after: float) -> None:
        self.fetched: list[int] = []
        self.through = asyncio.Event()
        self.through.set()
        self.verified = asyncio.Event()
        self.verified.set()
        self.failure: Exception | None = None
        self.memory = MemoryBudget(budget_bytes)
        self.cache = ChunkCache(cache_bytes)
        self.spool = spool
        settings = MemorySettings(wait_max_seconds=2, spool_after_seconds=after)
        self.chunks = Chunks(
            self._fetch, self.cache, spool, self.memory, settings, SystemClock(), Metrics.create()
        )

    async def _fetch(self, wanted: ChunkPlace, arrived: Arrived) -> bytes:
        number = int.from_bytes(wanted.hash, "big")
        self.fetched.append(number)
        await self.through.wait()
        if self.failure is not None:
            raise self.failure
        arrived()
        await self.verified.wait()
        return content(number)


Make = Callable[..., Bench]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Bench] = []

    def maker(
        *, cache_bytes: int = 8 * MIB, budget_bytes: int = 8 * MIB, after: float = 60
    ) -> Bench:
        spool = Spool(tmp_path)
        made.append(
            Bench(cache_bytes=cache_bytes, budget_bytes=budget_bytes, spool=spool, after=after)
        )
        return made[-1]

    yield maker
    for bench in made:
        await bench.chunks.close()
        bench.spool.close()
        assert bench.memory.in_use_bytes == 0
        assert bench.cache.pinned_bytes == 0
        assert bench.spool.held_bytes == 0
    assert list(tmp_path.iterdir()) == []


async def test_one_fetch_however_many_readers(make: Make) -> None:
    bench = make()
    bench.through.clear()
    readers = [asyncio.create_task(bench.chunks.take(place(1))) for _ in range(50)]
    await until(lambda: bench.fetched == [1])
    bench.through.set()
    held = await asyncio.gather(*readers)
    assert bench.fetched == [1]
    assert {await one.read(0, 8) for one in held} == {content(1)[:8]}
    for one in held:
        one.release()
    (await bench.chunks.take(place(1))).release()
    assert bench.fetched == [1]


async def test_everybody_is_told_once_when_a_chunk_has_come_before_it_is_verified(
    make: Make,
) -> None:
    bench = make()
    bench.through.clear()
    bench.verified.clear()
    told: list[str] = []

    def reader(name: str) -> asyncio.Task[HeldChunk]:
        taking = bench.chunks.take(place(1), arrived=lambda: told.append(name))
        return asyncio.create_task(taking)

    readers = [reader("first"), reader("second")]
    await until(lambda: bench.fetched == [1])
    assert told == []
    bench.through.set()
    await until(lambda: sorted(told) == ["first", "second"])
    readers.append(reader("late"))
    assert not any(one.done() for one in readers)
    bench.verified.set()
    for held in await asyncio.gather(*readers):
        held.release()
    assert sorted(told) == ["first", "second"]


async def test_a_cancelled_reader_takes_nothing_from_the_others(make: Make) -> None:
    bench = make()
    bench.through.clear()
    first = asyncio.create_task(bench.chunks.take(place(1)))
    second = asyncio.create_task(bench.chunks.take(place(1)))
    await until(lambda: bench.fetched == [1])
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    bench.through.set()
    held = await second
    assert await held.read(0, 8) == content(1)[:8]
    assert bench.cache.pinned_bytes == SIZE
    held.release()
    assert bench.fetched == [1]


@pytest.mark.parametrize("cache_bytes", [8 * MIB, 0])
async def test_a_reader_cancelled_in_the_moment_of_landing_leaves_nothing_held(
    make: Make, cache_bytes: int
) -> None:
    bench = make(cache_bytes=cache_bytes)
    bench.through.clear()
    reader = asyncio.create_task(bench.chunks.take(place(1)))
    await until(lambda: bench.fetched == [1])

    def cancel(_flight: object) -> None:
        reader.cancel()

    bench.chunks._flights[place(1).hash].task.add_done_callback(cancel)
    bench.through.set()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await until(lambda: bench.memory.in_use_bytes == 0)
    assert bench.cache.pinned_bytes == 0


async def test_a_fetch_whose_readers_all_left_still_fills_the_cache(make: Make) -> None:
    bench = make()
    bench.through.clear()
    reader = asyncio.create_task(bench.chunks.take(place(1)))
    await until(lambda: bench.fetched == [1])
    reader.cancel()
    bench.through.set()
    await until(lambda: place(1).hash in bench.cache)
    assert bench.memory.in_use_bytes == 0


async def test_a_failure_is_told_to_all_and_remembered_by_nobody(make: Make) -> None:
    bench = make()
    bench.failure = ContentDamaged()
    told = await asyncio.gather(
        *(bench.chunks.take(place(1)) for _ in range(3)), return_exceptions=True
    )
    assert [type(one) for one in told] == [ContentDamaged] * 3
    assert bench.memory.in_use_bytes == 0
    bench.failure = None
    (await bench.chunks.take(place(1))).release()
    assert bench.fetched == [1, 1]


async def test_memory_is_counted_once_in_the_cache_or_in_the_budget(make: Make) -> None:
    bench = make(cache_bytes=0)
    held = await bench.chunks.take(place(1))
    again = await bench.chunks.take(place(1))
    assert held.cached is None
    assert bench.fetched == [1]
    assert bench.memory.in_use_bytes == SIZE
    held.release()
    assert bench.memory.in_use_bytes == SIZE
    again.release()
    assert bench.memory.in_use_bytes == 0
    cached = make()
    kept = await cached.chunks.take(place(1))
    assert kept.cached == content(1)
    assert cached.memory.in_use_bytes == 0
    kept.release()


async def test_a_slow_readers_chunk_goes_to_a_file_that_all_its_readers_share(make: Make) -> None:
    bench = make(cache_bytes=0, after=0.01)
    held = await bench.chunks.take(place(1))
    again = await bench.chunks.take(place(1))
    await until(lambda: held.data is None)
    assert bench.memory.in_use_bytes == 0
    assert bench.spool.held_bytes == SIZE
    for one in (held, again):
        assert await one.read(SIZE - 4, SIZE) == content(1)[-4:]
        one.release()
    assert bench.spool.held_bytes == 0


async def test_who_waits_for_memory_makes_others_spool_at_once(make: Make) -> None:
    bench = make(cache_bytes=0, budget_bytes=2 * SIZE, after=60)
    held = [await bench.chunks.take(place(number)) for number in range(20)]
    assert bench.memory.in_use_max_bytes <= 2 * SIZE
    for number, one in enumerate(held):
        assert await one.read(0, SIZE) == content(number)
        one.release()


async def test_a_reader_that_leaves_while_its_chunk_is_written_leaves_no_file(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make(cache_bytes=0, after=0)
    written, go = asyncio.Event(), asyncio.Event()
    write = bench.spool.write

    async def slow(data: bytes) -> object:
        written.set()
        await go.wait()
        return await write(data)

    monkeypatch.setattr(bench.spool, "write", slow)
    held = await bench.chunks.take(place(1))
    await written.wait()
    held.release()
    assert bench.memory.in_use_bytes == SIZE  # the thread still has it
    go.set()
    await until(lambda: bench.memory.in_use_bytes == 0)
    assert bench.spool.held_bytes == 0


async def test_a_spool_without_room_leaves_the_chunk_in_memory(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make(cache_bytes=0, after=0)
    tried = asyncio.Event()

    async def full(data: bytes) -> object:
        tried.set()
        raise StorageFull

    monkeypatch.setattr(bench.spool, "write", full)
    held = await bench.chunks.take(place(1))
    await tried.wait()
    assert await held.read(0, SIZE) == content(1)
    assert bench.memory.in_use_bytes == SIZE
    held.release()
    assert bench.memory.in_use_bytes == 0


async def test_reading_ahead_never_waits_for_memory(make: Make) -> None:
    bench = make(cache_bytes=0, budget_bytes=SIZE)
    held = await bench.chunks.take(place(1))
    with pytest.raises(Overloaded):
        await bench.chunks.take(place(2), ahead=True)
    held.release()


async def test_more_pinned_than_the_cache_allows_is_held_under_the_budget(make: Make) -> None:
    bench = make(cache_bytes=4 * MIB + 4096)
    for number in range(4):
        (await bench.chunks.take(place(number))).release()
    held = [await bench.chunks.take(place(number)) for number in range(4)]
    assert bench.fetched == [0, 1, 2, 3]
    loose = [one for one in held if one.cached is None]
    assert len(loose) * SIZE == bench.memory.in_use_bytes > 0
    for one in held:
        one.release()
    assert [await _is_kept(bench, number) for number in range(4)] == [True] * 4


async def _is_kept(bench: Bench, number: int) -> bool:
    return bench.chunks.peek(place(number).hash) == content(number)


async def test_releasing_twice_is_an_error(make: Make) -> None:
    bench = make()
    held: HeldChunk = await bench.chunks.take(place(1))
    held.release()
    with pytest.raises(RuntimeError):
        held.release()
