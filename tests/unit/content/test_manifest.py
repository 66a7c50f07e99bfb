"""The packed manifest: the bytes SQL builds, found by byte range, refused when damaged."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.content.manifest import ENTRY_BYTES, OFFSET_MAX, Manifest, ManifestEntry
from mediastore.errors import InvariantBroken

hashes = st.binary(min_size=32, max_size=32)
chunk_lists = st.lists(st.tuples(hashes, st.integers(1, 2**40)), max_size=40)
crowded = st.lists(st.tuples(hashes, st.integers(1, 5)), max_size=40)


def entries_of(chunks: list[tuple[bytes, int]]) -> list[ManifestEntry]:
    entries, start = [], 0
    for hash_, size in chunks:
        entries.append(ManifestEntry(hash_, start, start + size))
        start += size
    return entries


@given(chunk_lists)
def test_a_manifest_round_trips(chunks: list[tuple[bytes, int]]) -> None:
    built = Manifest.build(chunks)
    read = Manifest(built.packed, built.size)
    assert list(read) == entries_of(chunks)
    assert [read[index] for index in range(len(read))] == entries_of(chunks)
    assert len(read) == len(chunks)
    assert read.size == sum(size for _, size in chunks)
    assert [(entry.hash, entry.size) for entry in read] == chunks


def test_an_entry_is_the_hash_and_what_int8send_writes() -> None:
    first, second = bytes(range(32)), bytes(range(32, 64))
    packed = Manifest.build([(first, 5), (second, 0x0102)]).packed
    assert packed == first + bytes([0] * 7 + [5]) + second + bytes([0] * 6 + [1, 7])
    assert len(packed) == 2 * ENTRY_BYTES == 80


def test_an_empty_file_has_an_empty_manifest() -> None:
    empty = Manifest.build([])
    assert (empty.packed, empty.size, len(empty), list(empty)) == (b"", 0, 0, [])
    assert Manifest(b"", 0).find(0, 10) == []


@given(crowded, st.integers(0, 220), st.integers(0, 220))
def test_find_gives_the_entries_that_overlap_a_range(
    chunks: list[tuple[bytes, int]], one: int, other: int
) -> None:
    start, end = sorted((one, other))
    expected = [
        entry
        for entry in entries_of(chunks)
        if any(entry.start <= byte < entry.end for byte in range(start, end))
    ]
    assert Manifest.build(chunks).find(start, end) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 1, [0]), (0, 10, [0]), (9, 10, [0]), (10, 20, [1]), (9, 11, [0, 1]), (19, 21, [1, 2])],
)
def test_find_at_the_edges_of_entries(start: int, end: int, expected: list[int]) -> None:
    manifest = Manifest.build([(bytes([index]) * 32, 10) for index in range(3)])
    assert manifest.find(start, end) == [manifest[index] for index in expected]


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (-2, -1)])
def test_find_refuses_what_is_not_a_range(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="not a byte range"):
        Manifest.build([(bytes(32), 10)]).find(start, end)


@pytest.mark.parametrize("index", [-1, 1, 2])
def test_an_entry_outside_is_refused(index: int) -> None:
    with pytest.raises(IndexError):
        Manifest.build([(bytes(32), 10)])[index]


@given(chunk_lists.filter(bool), st.data())
def test_a_manifest_that_lost_bytes_is_refused(
    chunks: list[tuple[bytes, int]], data: st.DataObject
) -> None:
    whole = Manifest.build(chunks)
    kept = data.draw(st.integers(0, len(whole.packed) - 1))
    with pytest.raises(InvariantBroken):
        Manifest(whole.packed[:kept], whole.size)


@given(chunk_lists, st.integers(0, 2**41))
def test_a_manifest_of_another_size_is_refused(chunks: list[tuple[bytes, int]], size: int) -> None:
    whole = Manifest.build(chunks)
    if size != whole.size:
        with pytest.raises(InvariantBroken, match="its blob at"):
            Manifest(whole.packed, size)


@pytest.mark.parametrize("ends", [[0], [-1], [5, 5], [5, 4], [5, 9, 7, 12], [5, -(2**63)], [0, 5]])
def test_ends_that_do_not_ascend_are_refused(ends: list[int]) -> None:
    packed = b"".join(struct.pack(">32sq", bytes(32), end) for end in ends)
    with pytest.raises(InvariantBroken, match="not behind its start"):
        Manifest(packed, ends[-1])


@pytest.mark.parametrize(
    "chunks",
    [[(bytes(31), 1)], [(bytes(33), 1)], [(bytes(32), 0)], [(bytes(32), -1)]],
)
def test_an_entry_that_cannot_be_is_not_built(chunks: list[tuple[bytes, int]]) -> None:
    with pytest.raises(ValueError, match="entry needs"):
        Manifest.build(chunks)


def test_offsets_reach_63_bits_and_no_further() -> None:
    assert Manifest.build([(bytes(32), OFFSET_MAX)]).size == 2**63 - 1
    with pytest.raises(ValueError, match="63 bits"):
        Manifest.build([(bytes(32), OFFSET_MAX), (bytes(32), 1)])
