"""The chunk cache: bounded, least recently used first, pinned chunks stay and are bounded too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.delivery.cache import ENTRY_OVERHEAD_BYTES, PINNED_SHARE_MAX, ChunkCache

SIZE = 4096
COST = SIZE + ENTRY_OVERHEAD_BYTES


def name(number: int) -> bytes:
    return number.to_bytes(32, "big")


def filled(chunks: int) -> ChunkCache:
    cache = ChunkCache(COST * chunks)
    for number in range(chunks):
        assert cache.admit(name(number), bytes(SIZE), readers=0)
    return cache


def test_the_least_recently_used_goes_first() -> None:
    cache = filled(3)
    cache.peek(name(0))
    cache.admit(name(3), bytes(SIZE), readers=0)
    assert [number for number in range(4) if name(number) in cache] == [0, 2, 3]
    assert cache.held_bytes == 3 * COST


def test_a_pinned_chunk_stays_until_its_last_reader() -> None:
    cache = filled(3)
    assert cache.pin(name(0)) is not None
    assert cache.pin(name(0)) is not None
    for number in range(3, 9):
        cache.admit(name(number), bytes(SIZE), readers=0)
    assert name(0) in cache
    cache.unpin(name(0))
    assert cache.pinned_bytes == SIZE
    cache.unpin(name(0))
    assert cache.pinned_bytes == 0
    for number in range(9, 12):
        cache.admit(name(number), bytes(SIZE), readers=0)
    assert name(0) not in cache


def test_no_more_than_a_share_can_be_pinned() -> None:
    cache = filled(8)
    pinned = [number for number in range(8) if cache.pin(name(number)) is not None]
    assert 0 < len(pinned) * SIZE <= 8 * COST * PINNED_SHARE_MAX
    assert len(pinned) < 8
    left = next(number for number in range(8) if number not in pinned)
    assert cache.take_out(name(left)) is not None
    assert not cache.admit(name(99), bytes(SIZE), readers=1)


def test_unpinning_what_is_not_pinned_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled(1).unpin(name(0))


def test_nothing_fits_a_cache_of_nothing() -> None:
    cache = ChunkCache(0)
    assert not cache.admit(name(1), b"x", readers=0)
    assert cache.peek(name(1)) is None


actions = st.tuples(st.sampled_from(["admit", "pin", "unpin", "peek", "out"]), st.integers(0, 9))


@given(st.lists(actions, max_size=200))
def test_it_never_holds_more_than_its_limit(steps: list[tuple[str, int]]) -> None:
    limit = 5 * COST
    cache = ChunkCache(limit)
    pins: dict[int, int] = {}
    for action, number in steps:
        hash_, data = name(number), bytes(SIZE + number)
        if action == "admit" and hash_ not in cache:
            cache.admit(hash_, data, readers=0)
        elif action == "pin" and cache.pin(hash_) is not None:
            pins[number] = pins.get(number, 0) + 1
        elif action == "unpin" and pins.get(number):
            pins[number] -= 1
            cache.unpin(hash_)
        elif action == "peek":
            found = cache.peek(hash_)
            assert found is None or found == data
        elif action == "out":
            taken = cache.take_out(hash_)
            assert taken is None or not pins.get(number)
        assert cache.held_bytes <= limit
        assert cache.pinned_bytes == sum(SIZE + n for n, readers in pins.items() if readers)
        assert all(name(n) in cache for n, readers in pins.items() if readers)
