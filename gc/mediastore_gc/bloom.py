"""A Bloom filter of hashes: 'not there' is certain, 'there' is only likely. Bounded memory (INV-7).

Sizing: 16 bits a key rounded up to a power of two, four probes: at most 22 % of the bits are set
and at most 0.24 % of foreign hashes pass. One million doomed keys take 2 MiB; the cap of 256 MiB is
reached at 134 million, beyond which more foreign hashes pass. A hash that passes is looked up in
the catalog, so a false one costs a look-up. Probes come from the hash itself: it is BLAKE3, so its
bytes are as good as random.
"""

import struct
from collections.abc import Iterable

BITS_PER_KEY = 16
PROBES = 4
BYTES_MIN = 1024
BYTES_MAX = 256 * 1024 * 1024
_PROBES = struct.Struct("<4Q")


class BloomFilter:
    """Takes 32-byte hashes."""

    def __init__(self, capacity: int, *, bytes_max: int = BYTES_MAX) -> None:
        """`capacity`: how many keys it is made for. Raises ValueError for a negative one."""
        if capacity < 0:
            raise ValueError("a Bloom filter cannot be made for fewer than no keys")
        wanted = max(BYTES_MIN, capacity * BITS_PER_KEY // 8)
        size = min(1 << (wanted - 1).bit_length(), 1 << (bytes_max.bit_length() - 1))
        self._bits = bytearray(size)
        self._mask = size * 8 - 1

    @property
    def size_bytes(self) -> int:
        return len(self._bits)

    def add(self, hash_: bytes) -> None:
        """Raises struct.error for anything but 32 bytes."""
        for probe in _PROBES.unpack(hash_):
            position = probe & self._mask
            self._bits[position >> 3] |= 1 << (position & 7)

    def matching(self, hashes: Iterable[bytes]) -> list[bytes]:
        """Those of `hashes` that may have been added; none that was is left out."""
        bits, mask = self._bits, self._mask
        found = []
        for hash_ in hashes:
            for probe in _PROBES.unpack(hash_):
                position = probe & mask
                if not bits[position >> 3] >> (position & 7) & 1:
                    break
            else:
                found.append(hash_)
        return found
