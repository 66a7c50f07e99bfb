"""The names of content: BLAKE3 of chunks and blobs, their text form, and a chunk's CRC-32.

Owns the choice of hash. A chunk's name and its CRC-32 are computed here in one place, over the same
immutable bytes, so that what is sent to the store is what was named (INV-2, INV-9).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from blake3 import blake3

from mediastore.content import checksum
from mediastore.content.digests import Digester

HASH_BYTES = 32
_HASH_TEXT = re.compile(r"[0-9a-f]{64}")

# From this size on, hand hashing or cutting to a thread: BLAKE3, CRC-32 and the FastCDC scan
# release the GIL, and a hand-over costs some 35 to 70 µs of event loop and switching. Measured with
# four pieces of work under way on two cores: 3.4 times slower than inline at 64 KiB, even at 256
# KiB, 1.5 times as fast at 512 KiB, 1.8 times at 4 MiB; and 256 KiB inline holds the loop for only
# 60 µs.
THREAD_WORTH_BYTES = 256 * 1024

# What one hash after the other reads while it is in the CPU's cache. Smaller blocks hash a little
# faster on an idle core; but each is a hand-over of the GIL, which costs more when all are busy.
HASH_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChunkName:
    """What the catalog and the store need to know about a chunk's bytes."""

    hash: bytes
    size: int
    crc32: int


class BlobHasher:
    """The running BLAKE3 of a blob, from byte 0 to `offset`, and beside it the digests by
    `algorithms` that its client declared; for one task or thread at a time.
    """

    __slots__ = ("_declared", "_hash", "_offset")

    def __init__(self, algorithms: Iterable[str] = ()) -> None:
        self._hash = blake3()
        self._declared = Digester(algorithms)
        self._offset = 0

    @property
    def offset(self) -> int:
        """How many bytes were hashed."""
        return self._offset

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Hash the bytes that follow `offset`."""
        self._hash.update(data)
        self._declared.update(data)
        self._offset += memoryview(data).nbytes

    def copy(self) -> Self:
        """An independent hasher in the same place: bytes tried on it can be given up again."""
        twin = type(self)()
        twin._hash = self._hash.copy()
        twin._declared = self._declared.copy()
        twin._offset = self._offset
        return twin

    def digest(self) -> bytes:
        """The 32-byte id of a blob that ends here; hashing can go on."""
        return self._hash.digest()

    def digests(self) -> dict[str, bytes]:
        """The digests, by algorithm, of a blob that ends here."""
        return self._declared.digests()


def name_chunk(
    data: bytes | memoryview, blob: BlobHasher | None = None, body: Digester | None = None
) -> ChunkName:
    """BLAKE3, size in bytes and zlib's CRC-32 of a chunk. `blob` and `body`, which stand at its
    beginning, go over it in the same pass, block by block while that is in the CPU's cache. The
    first chunk of a blob is hashed once for both.
    """
    if blob is None and body is None:
        return ChunkName(blake3(data).digest(), len(data), checksum.crc32(data))
    chunk: BlobHasher | blake3 = blob if blob is not None and blob.offset == 0 else blake3()
    hashers: list[BlobHasher | Digester | blake3] = [chunk]
    hashers += [other for other in (blob, body) if other is not None and other is not chunk]
    crc32 = 0
    whole = memoryview(data)
    for start in range(0, len(data), HASH_BLOCK_BYTES):
        block = whole[start : start + HASH_BLOCK_BYTES]
        crc32 = checksum.crc32(block, crc32)
        for hasher in hashers:
            hasher.update(block)
    return ChunkName(chunk.digest(), len(data), crc32)


def format_hash(hash_: bytes) -> str:
    """64 lowercase hexadecimal digits, as `b3sum` prints. Raises ValueError unless 32 bytes."""
    if len(hash_) != HASH_BYTES:
        raise ValueError(f"a hash is {HASH_BYTES} bytes, not {len(hash_)}")
    return hash_.hex()


def parse_hash(text: str) -> bytes:
    """The 32 bytes of 64 lowercase hexadecimal digits; one content, one spelling.

    Raises ValueError for anything else, upper case and surrounding space included.
    """
    if _HASH_TEXT.fullmatch(text) is None:
        raise ValueError("a hash is 64 lowercase hexadecimal digits")
    return bytes.fromhex(text)
