"""The retrying wrapper: what is tried again, how often, and with which pauses."""

import random
import zlib

import pytest

from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.chunkstore.protocol import ConditionFailed, DeleteResult, MissingKey
from mediastore.chunkstore.retrying import RetryingChunkStore, RetryPolicy
from mediastore.errors import ChunkStoreUnavailable, Overloaded, StorageFull
from tests.faults import Fault, FaultyStore
from tests.unit.chunkstore.fake_clock import FakeClock

KEYS = [chunk_key(bytes([n]) * 32, n) for n in range(4)]
DOCUMENT = "_mediastore/collector"
DOWN = Fault(before=ChunkStoreUnavailable())


class Longest(random.Random):
    """Always the longest pause."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def faulty() -> FaultyStore:
    return FaultyStore(MemoryChunkStore())


@pytest.fixture
def retries() -> list[str]:
    return []


@pytest.fixture
def store(faulty: FaultyStore, clock: FakeClock, retries: list[str]) -> RetryingChunkStore:
    policy = RetryPolicy(attempts_max=4, delay_seconds=0.5, delay_max_seconds=3)
    return RetryingChunkStore(
        faulty, policy=policy, clock=clock, jitter=Longest(), on_retry=retries.append
    )


async def test_an_unavailable_store_is_asked_again_until_it_answers(
    store: RetryingChunkStore, faulty: FaultyStore, retries: list[str]
) -> None:
    faulty.script("put", DOWN, DOWN)
    await store.put(KEYS[0], b"x", crc32=zlib.crc32(b"x"))
    faulty.script("get", DOWN)
    assert await store.get(KEYS[0]) == b"x"
    faulty.script("head", DOWN)
    assert (await store.head(KEYS[0])).size == 1
    assert retries == ["put", "put", "get", "head"]


async def test_it_gives_up_after_attempts_max(
    store: RetryingChunkStore, faulty: FaultyStore, clock: FakeClock
) -> None:
    faulty.always("get", DOWN)
    with pytest.raises(ChunkStoreUnavailable):
        await store.get(KEYS[0])
    assert faulty.count("get") == 4
    assert clock.slept == [1, 2, 3]  # doubles, then the longest allowed


@pytest.mark.parametrize("error", [StorageFull(), Overloaded(), MissingKey(), ValueError()])
async def test_nothing_else_is_tried_again(
    store: RetryingChunkStore, faulty: FaultyStore, error: Exception
) -> None:
    faulty.script("get", Fault(before=error))
    with pytest.raises(type(error)):
        await store.get(KEYS[0])
    assert faulty.count("get") == 1


async def test_pauses_are_spread_over_the_whole_range() -> None:
    policy = RetryPolicy(attempts_max=9, delay_seconds=0.5, delay_max_seconds=30)
    pauses = [policy.pause_seconds(1, random.Random(seed)) for seed in range(1000)]
    assert min(pauses) < 0.05
    assert 0.95 < max(pauses) <= 1
    assert 0.45 < sum(pauses) / len(pauses) < 0.55
    assert policy.pause_seconds(10_000, Longest()) == 30


async def test_a_conditional_put_whose_answer_was_lost_is_not_reported_as_done(
    store: RetryingChunkStore, faulty: FaultyStore
) -> None:
    faulty.script("put_if", Fault(after=ChunkStoreUnavailable()))
    with pytest.raises(ConditionFailed):
        await store.put_if(DOCUMENT, b"mine", version=None)
    assert (await store.get_versioned(DOCUMENT)).body == b"mine"


async def test_a_conditional_put_that_did_not_arrive_is_tried_again(
    store: RetryingChunkStore, faulty: FaultyStore
) -> None:
    faulty.script("put_if", DOWN)
    faulty.script("get_versioned", DOWN)
    version = await store.put_if(DOCUMENT, b"mine", version=None)
    assert (await store.get_versioned(DOCUMENT)).version == version


async def test_only_keys_that_failed_are_deleted_again(
    store: RetryingChunkStore, faulty: FaultyStore
) -> None:
    faulty.script("delete_many", Fault(undeleted=frozenset(KEYS[1:3])), DOWN)
    faulty.script("delete_many", Fault(undeleted=frozenset(KEYS[2:3])), None)
    assert await store.delete_many(KEYS) == [DeleteResult(key) for key in KEYS]
    assert [keys for name, keys in faulty.calls if name == "delete_many"] == [
        " ".join(KEYS), " ".join(KEYS[1:3]), " ".join(KEYS[1:3]), KEYS[2],
    ]  # fmt: skip


async def test_keys_that_still_fail_are_reported_with_those_that_did_not(
    store: RetryingChunkStore, faulty: FaultyStore
) -> None:
    faulty.always("delete_many", Fault(undeleted=frozenset(KEYS[:1])))
    results = await store.delete_many([*KEYS, KEYS[0]])
    assert [result.key for result in results] == [*KEYS, KEYS[0]]
    assert [result.deleted for result in results] == [False, True, True, True, False]
    assert faulty.count("delete_many") == 4


async def test_known_fates_survive_a_store_that_goes_away(
    store: RetryingChunkStore, faulty: FaultyStore
) -> None:
    faulty.script("delete_many", Fault(undeleted=frozenset(KEYS[:1])))
    faulty.always("delete_many", DOWN)
    results = await store.delete_many(KEYS)
    assert [result.deleted for result in results] == [False, True, True, True]


async def test_a_delete_of_unknown_fate_raises(
    store: RetryingChunkStore, faulty: FaultyStore
) -> None:
    faulty.always("delete_many", DOWN)
    with pytest.raises(ChunkStoreUnavailable):
        await store.delete_many(KEYS)
    assert faulty.count("delete_many") == 4


async def test_a_listing_goes_on_behind_the_last_key_it_gave(
    store: RetryingChunkStore, faulty: FaultyStore, clock: FakeClock
) -> None:
    keys = [chunk_key(n.to_bytes(32, "big"), n) for n in range(2100)]
    for key in keys:
        await store.put(key, b"", crc32=0)
    faulty.script("list", DOWN, DOWN, DOWN, None, DOWN, DOWN, DOWN, None, DOWN)
    found = [entry.key async for page in store.list() for entry in page]
    assert found == keys
    assert clock.slept == [1, 2, 3, 1, 2, 3, 1]  # progress gives back all the attempts


async def test_a_listing_that_gets_nowhere_raises(
    store: RetryingChunkStore, faulty: FaultyStore
) -> None:
    await store.put(KEYS[0], b"", crc32=0)
    faulty.script("list", None)
    faulty.always("list", DOWN)
    pages = aiter(store.list())
    assert [entry.key for entry in await anext(pages)] == KEYS[:1]
    with pytest.raises(ChunkStoreUnavailable):
        await anext(pages)
    assert faulty.count("list") == 5


async def test_an_error_of_the_consumer_does_not_repeat_the_listing(
    store: RetryingChunkStore, faulty: FaultyStore
) -> None:
    await store.put(KEYS[0], b"", crc32=0)

    async def consume() -> None:
        async for _ in store.list():
            raise ChunkStoreUnavailable

    with pytest.raises(ChunkStoreUnavailable):
        await consume()
    assert faulty.count("list") == 1


async def test_readiness_hears_of_the_first_failure(
    store: RetryingChunkStore, faulty: FaultyStore
) -> None:
    faulty.script("check", DOWN)
    with pytest.raises(ChunkStoreUnavailable):
        await store.check()
    await store.check()
