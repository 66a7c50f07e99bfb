"""The manifest: a blob's chunks in order, packed to 40 bytes an entry.

An entry is the chunk's 32-byte BLAKE3 and the offset just past its last byte, as a big-endian
signed 64-bit integer. That is what Postgres's `int8send` writes, so `hash || int8send(end)` in SQL
builds the same bytes, and `substr()` reaches any entry without reading the others.

Owns the format and its checks. A manifest that is not whole never gets past the constructor, so
whoever counts references from one (INV-4, INV-7) or reads by one (INV-9) counts and reads all of
it.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from mediastore.content.hashing import HASH_BYTES
from mediastore.errors import InvariantBroken

_ENTRY = struct.Struct(f">{HASH_BYTES}sq")
_END = struct.Struct(">q")
ENTRY_BYTES = _ENTRY.size
OFFSET_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One chunk's place in its blob: bytes `start` to `end`, `end` not included."""

    hash: bytes
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of a blob's entries over the packed bytes themselves; an empty file has none.

    `size` is the blob's, known from elsewhere: it is how a manifest that lost its tail is noticed.
    Raises InvariantBroken for anything but whole entries whose ends ascend from above 0 to `size`.
    """

    packed: bytes
    size: int

    def __post_init__(self) -> None:
        if len(self.packed) % ENTRY_BYTES:
            raise InvariantBroken(
                f"a manifest of {len(self.packed)} bytes is not whole {ENTRY_BYTES}-byte entries"
            )
        reached = 0
        for index, (_, end) in enumerate(_ENTRY.iter_unpack(self.packed)):
            if end <= reached:
                raise InvariantBroken(
                    f"manifest entry {index} ends at {end}, not behind its start {reached}"
                )
            reached = end
        if reached != self.size:
            raise InvariantBroken(f"a manifest ends at {reached}, its blob at {self.size}")

    @classmethod
    def build(cls, chunks: Iterable[tuple[bytes, int]]) -> Self:
        """From (hash, size in bytes) in order. Raises ValueError for a bad hash, size or sum."""
        packed = bytearray()
        end = 0
        for hash_, size in chunks:
            if len(hash_) != HASH_BYTES or size <= 0:
                raise ValueError("a manifest entry needs a 32-byte hash and at least one byte")
            end += size
            if end > OFFSET_MAX:
                raise ValueError("a blob's size does not fit 63 bits")
            packed += _ENTRY.pack(hash_, end)
        return cls(bytes(packed), end)

    def __len__(self) -> int:
        return len(self.packed) // ENTRY_BYTES

    def __iter__(self) -> Iterator[ManifestEntry]:
        start = 0
        for hash_, end in _ENTRY.iter_unpack(self.packed):
            yield ManifestEntry(hash_, start, end)
            start = end

    def __getitem__(self, index: int) -> ManifestEntry:
        """The entry at `index`, from 0. Raises IndexError outside; negative ones are outside."""
        if not 0 <= index < len(self):
            raise IndexError(f"a manifest of {len(self)} entries has none at {index}")
        hash_, end = _ENTRY.unpack_from(self.packed, index * ENTRY_BYTES)
        return ManifestEntry(hash_, self._end_at(index - 1) if index else 0, end)

    def find(self, start: int, end: int) -> list[ManifestEntry]:
        """The entries that hold any of the bytes `start` to `end` (not included), in order.

        An empty range holds no byte, and none lies past the blob's end.
        Raises ValueError unless 0 <= start <= end.
        """
        if not 0 <= start <= end:
            raise ValueError(f"not a byte range: {start} to {end}")
        if start == end or start >= self.size:
            return []
        first = bisect_right(range(len(self)), start, key=self._end_at)
        found = []
        for index in range(first, len(self)):
            entry = self[index]
            if entry.start >= end:
                break
            found.append(entry)
        return found

    def _end_at(self, index: int) -> int:
        end: int = _END.unpack_from(self.packed, index * ENTRY_BYTES + HASH_BYTES)[0]
        return end
