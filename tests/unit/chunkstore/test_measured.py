"""The measuring wrapper: outcomes, bytes and seconds by name."""

import asyncio
import zlib

import pytest
from prometheus_client import CollectorRegistry

from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.measured import ChunkStoreMetrics, MeasuredChunkStore
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.chunkstore.protocol import ConditionFailed, MissingKey
from mediastore.errors import ChunkStoreUnavailable, Overloaded, StorageFull
from tests.faults import Fault, FaultyStore
from tests.unit.chunkstore.fake_clock import FakeClock

KEY = chunk_key(bytes(32), 1)
DOCUMENT = "_mediastore/collector"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def faulty() -> FaultyStore:
    return FaultyStore(MemoryChunkStore())


@pytest.fixture
def store(faulty: FaultyStore, registry: CollectorRegistry, clock: FakeClock) -> MeasuredChunkStore:
    return MeasuredChunkStore(faulty, metrics=ChunkStoreMetrics(registry), clock=clock)


def calls(registry: CollectorRegistry, operation: str, outcome: str) -> float | None:
    labels = {"operation": operation, "outcome": outcome}
    return registry.get_sample_value("mediastore_chunk_store_calls_total", labels)


async def test_calls_and_bytes(store: MeasuredChunkStore, registry: CollectorRegistry) -> None:
    await store.put(KEY, b"12345", crc32=zlib.crc32(b"12345"))
    await store.put_if(DOCUMENT, b"123", version=None)
    await store.get(KEY)
    await store.get_versioned(DOCUMENT)
    await store.head(KEY)
    await store.check()
    assert [page async for page in store.list()]
    await store.delete_many([KEY])
    for operation in ("put", "put_if", "get", "get_versioned", "head", "check", "delete_many"):
        assert calls(registry, operation, "ok") == 1, operation
    assert calls(registry, "list", "ok") == 2  # a page, and finding that there is none behind it
    for direction, moved in (("in", 8), ("out", 8)):
        name = "mediastore_chunk_store_bytes_total"
        assert registry.get_sample_value(name, {"direction": direction}) == moved


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MissingKey(), "missing"),
        (ConditionFailed(), "condition_failed"),
        (ChunkStoreUnavailable(), "unavailable"),
        (StorageFull(), "full"),
        (Overloaded(), "overloaded"),
        (ValueError(), "error"),
    ],
)
async def test_outcomes(
    store: MeasuredChunkStore,
    faulty: FaultyStore,
    registry: CollectorRegistry,
    error: Exception,
    outcome: str,
) -> None:
    for operation in ("put", "list"):
        faulty.script(operation, Fault(before=error))
    with pytest.raises(type(error)):
        await store.put(KEY, b"12345", crc32=0)
    with pytest.raises(type(error)):
        await anext(aiter(store.list()))
    for operation in ("put", "list"):
        assert calls(registry, operation, outcome) == 1
        assert calls(registry, operation, "ok") == 0
    name = "mediastore_chunk_store_bytes_total"
    assert registry.get_sample_value(name, {"direction": "in"}) == 0


async def test_a_cancelled_call_is_counted(
    store: MeasuredChunkStore, faulty: FaultyStore, registry: CollectorRegistry
) -> None:
    stuck = Fault(gate=asyncio.Event())
    faulty.script("get", stuck)
    task = asyncio.create_task(store.get(KEY))
    await stuck.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert calls(registry, "get", "cancelled") == 1


async def test_seconds_are_the_clocks(
    store: MeasuredChunkStore, faulty: FaultyStore, registry: CollectorRegistry, clock: FakeClock
) -> None:
    slow = Fault(gate=asyncio.Event())
    faulty.script("check", slow)
    task = asyncio.create_task(store.check())
    await slow.reached.wait()
    await clock.sleep(7)
    assert slow.gate is not None
    slow.gate.set()
    await task
    name = "mediastore_chunk_store_call_seconds_sum"
    assert registry.get_sample_value(name, {"operation": "check"}) == 7


async def test_deleted_and_failed_keys_are_told_apart(
    store: MeasuredChunkStore, faulty: FaultyStore, registry: CollectorRegistry
) -> None:
    keys = [chunk_key(bytes(32), n) for n in range(5)]
    faulty.script("delete_many", Fault(undeleted=frozenset(keys[:2])))
    await store.delete_many(keys)
    name = "mediastore_chunk_store_delete_keys_total"
    assert registry.get_sample_value(name, {"outcome": "ok"}) == 3
    assert registry.get_sample_value(name, {"outcome": "error"}) == 2
