"""The limiting wrapper: places, the bounded queue, and that places come back."""

import asyncio

import pytest

from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.limited import LimitedChunkStore
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.errors import ChunkStoreUnavailable, Overloaded
from tests.faults import Fault, FaultyStore

KEY = chunk_key(bytes(32), 1)


@pytest.fixture
async def faulty() -> FaultyStore:
    inner = MemoryChunkStore()
    await inner.put(KEY, b"x", crc32=0x8CDC1683)
    return FaultyStore(inner)


async def test_calls_beyond_the_places_wait_and_beyond_the_queue_are_refused(
    faulty: FaultyStore,
) -> None:
    store = LimitedChunkStore(faulty, concurrency_max=2, waiting_max=1)
    gate = asyncio.Event()
    faulty.always("get", Fault(gate=gate))
    under_way = [asyncio.create_task(store.get(KEY)) for _ in range(3)]
    await asyncio.sleep(0)
    assert faulty.count("get") == 2
    with pytest.raises(Overloaded):
        await store.head(KEY)
    gate.set()
    assert await asyncio.gather(*under_way) == [b"x"] * 3
    assert (await store.head(KEY)).size == 1


async def test_without_a_queue_a_free_place_is_still_taken(faulty: FaultyStore) -> None:
    store = LimitedChunkStore(faulty, concurrency_max=1, waiting_max=0)
    assert await store.get(KEY) == b"x"


async def test_places_come_back_after_errors_and_cancellation(faulty: FaultyStore) -> None:
    store = LimitedChunkStore(faulty, concurrency_max=1, waiting_max=1)
    faulty.script("get", Fault(before=ChunkStoreUnavailable()))
    with pytest.raises(ChunkStoreUnavailable):
        await store.get(KEY)
    stuck = Fault(gate=asyncio.Event())
    faulty.script("get", stuck)
    running = asyncio.create_task(store.get(KEY))
    await stuck.reached.wait()
    waiting = asyncio.create_task(store.get(KEY))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    next_in_queue = asyncio.create_task(store.get(KEY))  # the cancelled one's place in the queue
    await asyncio.sleep(0)
    running.cancel()
    assert await next_in_queue == b"x"
    assert await store.get(KEY) == b"x"


async def test_a_listing_holds_no_place_between_pages(faulty: FaultyStore) -> None:
    store = LimitedChunkStore(faulty, concurrency_max=1, waiting_max=0)
    async for page in store.list():
        assert await store.get(page[0].key) == b"x"


async def test_every_operation_takes_a_place(faulty: FaultyStore) -> None:
    store = LimitedChunkStore(faulty, concurrency_max=1, waiting_max=0)
    stuck = Fault(gate=asyncio.Event())
    faulty.script("get", stuck)
    running = asyncio.create_task(store.get(KEY))
    await stuck.reached.wait()
    document = "_mediastore/collector"
    for call in (
        store.put(KEY, b"", crc32=0),
        store.put_if(document, b"", version=None),
        store.get(KEY),
        store.get_versioned(document),
        store.head(KEY),
        store.delete_many([KEY]),
        anext(aiter(store.list())),
        store.check(),
    ):
        with pytest.raises(Overloaded):
            await call
    running.cancel()
    await asyncio.wait([running])
