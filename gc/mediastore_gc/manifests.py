"""Reads lists of references piece by piece and believes nothing.

Every doubt is RecountFailed (INV-7).
"""

import struct

from mediastore.catalog.recount import ENTRY_BYTES, ListPiece
from mediastore.collector_errors import RecountFailed
from mediastore.content.hashing import HASH_BYTES

_ENTRY = struct.Struct(f">{HASH_BYTES}sq")


class ListReader:
    """Takes the pieces of one list behind the other.

    Checks that each list is there, whole and in order.

    A manifest's ends must ascend strictly from above 0 to its blob's size. Lists of unlinking may
    join several passes of an upload, so only their length is checked.
    """

    def __init__(self) -> None:
        self.lists_read = 0
        self._name: str | None = None
        self._position = 0
        self._end = 0

    def read(self, piece: ListPiece) -> list[bytes]:
        """The hashes of this piece's entries."""
        self._begin_or_go_on(piece)
        if piece.length is None:
            raise RecountFailed(f"{piece.name} is missing")
        if piece.length % ENTRY_BYTES or len(piece.entries) % ENTRY_BYTES:
            raise RecountFailed(f"{piece.name} is not made of whole entries")
        self._position += len(piece.entries)
        if self._position > piece.length or (not piece.entries and self._position < piece.length):
            raise RecountFailed(
                f"{piece.name} has {piece.length} bytes, {self._position} could be read"
            )
        hashes = []
        for hash_, end in _ENTRY.iter_unpack(piece.entries):
            if piece.size is not None and end <= self._end:
                raise RecountFailed(f"{piece.name} goes from {self._end} to {end}")
            self._end = end
            hashes.append(hash_)
        if self._position == piece.length:
            self._finish(piece)
        return hashes

    def close(self) -> None:
        """Call behind the last piece."""
        if self._name is not None:
            raise RecountFailed(f"{self._name} ended too early")

    def _begin_or_go_on(self, piece: ListPiece) -> None:
        if self._name is None:
            self._name, self._position, self._end = piece.name, piece.start, 0
        if piece.name != self._name or piece.start != self._position:
            raise RecountFailed(f"{self._name} ended too early, at {self._position}")

    def _finish(self, piece: ListPiece) -> None:
        if piece.size is not None and self._end != piece.size:
            raise RecountFailed(f"{piece.name} ends at {self._end}, its blob at {piece.size}")
        self._name = None
        self.lists_read += 1


def hashes_of(entries: bytes) -> list[bytes]:
    """The hashes of whole entries; what is left over of a broken one is not looked at."""
    whole = len(entries) - len(entries) % _ENTRY.size
    return [hash_ for hash_, _ in _ENTRY.iter_unpack(entries[:whole])]
