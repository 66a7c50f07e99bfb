"""Where content is cut depends on nothing but the content."""

import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from pyfastcdc import FastCDC
from pyfastcdc.py import FastCDC as PurePythonFastCDC

from mediastore.content.chunker import NORMALIZATION, Chunker, require_compiled
from mediastore.content.hashing import BlobHasher

MIB = 1024 * 1024
SIZE_MIN, SIZE_AVERAGE, SIZE_MAX = 64, 256, 1024


def small_chunker() -> Chunker:
    return Chunker(SIZE_MIN, SIZE_AVERAGE, SIZE_MAX)


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def cut(pieces: Iterable[bytes], chunker: Chunker | None = None) -> list[bytes]:
    """Chunks of one request that arrives in `pieces`, taken after each of them."""
    chunker = chunker or small_chunker()
    chunks = []
    for piece in pieces:
        chunker.feed(piece)
        chunks += chunker.take()
    return list(map(bytes, chunks + chunker.flush()))


def split(data: bytes, places: Iterable[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


contents = st.one_of(
    st.binary(max_size=3 * SIZE_MAX),
    st.builds(noise, st.integers(0, 40 * SIZE_MAX), st.integers(0, 2**32)),
    st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.integers(0, 9000)),
)
places = st.lists(st.integers(min_value=0), max_size=60)


@given(contents, places, st.lists(st.booleans(), min_size=61, max_size=61))
def test_any_split_into_reads_gives_the_same_chunks(
    data: bytes, borders: list[int], taken: list[bool]
) -> None:
    chunker = small_chunker()
    chunks = []
    for piece, take in zip(split(data, borders), taken, strict=False):
        chunker.feed(piece)
        if take:
            chunks += chunker.take()
    chunks += chunker.flush()
    assert chunks == cut([data])


@given(contents, places)
def test_chunks_put_together_are_the_content_and_hash_to_its_id(
    data: bytes, borders: list[int]
) -> None:
    chunks = cut(split(data, borders))
    hasher = BlobHasher()
    for chunk in chunks:
        hasher.update(chunk)
    assert b"".join(chunks) == data
    assert hasher.digest() == blake3(data).digest()
    assert hasher.offset == len(data)


@given(contents, st.sampled_from([(64, 256, 1024), (65, 257, 1025), (127, 300, 1024)]))
def test_chunks_stay_within_their_bounds(data: bytes, sizes: tuple[int, int, int]) -> None:
    size_min, _, size_max = sizes
    chunks = cut([data], Chunker(*sizes))
    assert all(size_min <= len(chunk) <= size_max for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= size_max for chunk in chunks[-1:])


def test_an_odd_minimum_is_not_undercut() -> None:
    data = noise(2_000_000, 5)
    chunks = cut([data], Chunker(255, 256, 1024))
    assert min(len(chunk) for chunk in chunks[:-1]) >= 255


@given(contents, contents)
def test_a_flush_ends_a_chunk_and_what_follows_is_cut_as_if_it_came_first(
    before: bytes, after: bytes
) -> None:
    chunker = small_chunker()
    assert cut([before], chunker) == cut([before])
    assert chunker.buffered_bytes == 0
    assert chunker.flush() == []
    assert cut([after], chunker) == cut([after])


@given(contents, places)
def test_the_buffer_is_bounded_and_accounts_for_every_byte(data: bytes, borders: list[int]) -> None:
    chunker = small_chunker()
    fed = out = 0
    for piece in split(data, borders):
        chunker.feed(piece)
        fed += len(piece)
        out += sum(map(len, chunker.take()))
        assert chunker.buffered_bytes == fed - out
        assert chunker.buffered_bytes < SIZE_MAX


def test_take_gives_nothing_that_a_further_byte_could_change() -> None:
    chunker = small_chunker()
    chunker.feed(bytes(SIZE_MAX - 1))
    assert chunker.take() == []
    chunker.feed(b"\0")
    assert chunker.take() == [bytes(SIZE_MAX)]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_was_fed_may_be_reused_and_chunks_are_immutable(kind: type) -> None:
    data = noise(5000, 1)
    reused = bytearray(data)
    chunker = small_chunker()
    chunker.feed(memoryview(reused) if kind is memoryview else kind(reused))
    reused[:] = bytes(len(reused))
    chunks = chunker.take() + chunker.flush()
    assert b"".join(chunks) == data
    assert all(memoryview(chunk).readonly for chunk in chunks)


@pytest.mark.parametrize("size", [1, SIZE_MIN - 1, SIZE_MIN])
def test_content_up_to_the_minimum_is_one_chunk(size: int) -> None:
    assert [len(chunk) for chunk in cut([noise(size, 3)])] == [size]


def test_content_just_above_the_minimum_is_cut_like_any_other() -> None:
    whole = [noise(2 * SIZE_MIN, seed) for seed in range(200)]
    fastcdc = FastCDC(
        SIZE_AVERAGE, min_size=SIZE_MIN, max_size=SIZE_MAX, normalized_chunking=NORMALIZATION
    )
    expected = [[bytes(chunk.data) for chunk in fastcdc.cut_buf(data)] for data in whole]
    assert max(map(len, expected)) > 1
    assert [cut([data]) for data in whole] == expected


def test_no_content_is_no_chunk() -> None:
    assert cut([]) == []
    assert cut([b""]) == []


@pytest.mark.parametrize("inserted", [1, 2, 63, 64, 1000])
def test_bytes_inserted_in_front_leave_most_chunks_shared(inserted: int) -> None:
    data = noise(200_000, 7)
    before = set(cut([data]))
    after = cut([noise(inserted, 8) + data])
    shared = sum(len(chunk) for chunk in after if chunk in before)
    assert shared > 0.95 * len(data)


def test_bytes_changed_in_the_middle_change_only_the_chunks_around_them() -> None:
    data = noise(200_000, 9)
    before = set(cut([data]))
    after = cut([data[:100_000] + b"changed" + data[100_007:]])
    assert sum(len(chunk) for chunk in after if chunk not in before) <= 4 * SIZE_MAX


@pytest.mark.parametrize(
    "sizes", [(256, 256, 1024), (64, 1024, 1024), (32, 256, 1024), (64, 256, 32 * MIB)]
)
def test_sizes_that_cannot_work_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"size|range"):
        Chunker(*sizes)


def test_the_pure_python_fallback_is_refused() -> None:
    require_compiled(FastCDC)
    with pytest.raises(ImportError, match="compiled extension"):
        require_compiled(PurePythonFastCDC)
