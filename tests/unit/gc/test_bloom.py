"""The filter never forgets, seldom errs, and stays inside its bound."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mediastore_gc.bloom import BloomFilter


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=200), st.integers(0, 300))
def test_what_was_added_is_always_found(hashes: list[bytes], capacity: int) -> None:
    filled = BloomFilter(capacity)
    for hash_ in hashes:
        filled.add(hash_)
    assert filled.matching(hashes) == hashes


def test_few_others_pass() -> None:
    noise = random.Random(7)
    filled = BloomFilter(50_000)
    for _ in range(50_000):
        filled.add(noise.randbytes(32))
    passed = filled.matching(noise.randbytes(32) for _ in range(50_000))
    assert len(passed) < 50_000 * 0.005


def test_an_empty_filter_lets_nothing_pass() -> None:
    noise = random.Random(7)
    assert BloomFilter(0).matching(noise.randbytes(32) for _ in range(1000)) == []


@pytest.mark.parametrize(
    ("capacity", "expected"), [(0, 1024), (512, 1024), (513, 2048), (1_000_000, 2 << 20)]
)
def test_it_is_as_large_as_it_says(capacity: int, expected: int) -> None:
    assert BloomFilter(capacity).size_bytes == expected


def test_it_stays_inside_its_bound() -> None:
    assert BloomFilter(10**12, bytes_max=5000).size_bytes == 4096


def test_a_negative_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer"):
        BloomFilter(-1)
