"""Every way in which a list can be short or wrong is RecountFailed."""

import struct

import pytest
from mediastore_gc.manifests import ListReader

from mediastore.catalog.recount import ListPiece
from mediastore.collector_errors import RecountFailed


def entries(*ends: int) -> bytes:
    return b"".join(struct.pack(">32sq", bytes([n]) * 32, end) for n, end in enumerate(ends))


def piece(packed: bytes, *, length: int | None, start: int = 0, size: int | None = 30) -> ListPiece:
    return ListPiece("m", size, length, start, packed)


def read(*pieces: ListPiece) -> list[bytes]:
    reader = ListReader()
    hashes = [hash_ for each in pieces for hash_ in reader.read(each)]
    reader.close()
    return hashes


def test_a_whole_list_gives_its_hashes() -> None:
    packed = entries(10, 20, 30)
    assert read(piece(packed, length=120)) == [bytes([n]) * 32 for n in range(3)]


def test_pieces_follow_each_other() -> None:
    packed = entries(10, 20, 30)
    pieces = [piece(packed[at : at + 40], length=120, start=at) for at in (0, 40, 80)]
    assert len(read(*pieces)) == 3
    with pytest.raises(RecountFailed):
        read(*pieces[:2])
    with pytest.raises(RecountFailed):
        read(pieces[0], pieces[2])
    with pytest.raises(RecountFailed):
        read(pieces[0], ListPiece("other", 0, 0, 0, b""))


def test_an_empty_blob_has_an_empty_list() -> None:
    assert read(piece(b"", length=0, size=0)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        piece(b"", length=None),
        piece(b"", length=0),
        piece(b"", length=120),
        piece(entries(10, 30)[:-1], length=79),
        piece(entries(10, 20), length=80),
        piece(entries(20, 10, 30), length=120),
        piece(entries(10, 10, 30), length=120),
        piece(entries(0, 30), length=80),
        piece(entries(10, 20, 30, 31), length=120, size=31),
    ],
    ids=["missing", "emptied", "unread", "cut", "short", "descending", "still", "zero", "long"],
)
def test_a_doubtful_list_fails(wrong: ListPiece) -> None:
    with pytest.raises(RecountFailed):
        read(wrong)


def test_lists_of_unlinking_are_read_from_their_cursor() -> None:
    packed = entries(50, 10)
    assert len(read(ListPiece("u", None, 120, 40, packed))) == 2
    with pytest.raises(RecountFailed):
        read(ListPiece("u", None, 120, 40, packed[:40]))
