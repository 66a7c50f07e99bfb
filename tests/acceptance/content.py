"""Test content: any part of it can be made again, so nothing large is kept."""

from collections.abc import Iterator

from blake3 import blake3

MIB = 1024 * 1024


def content(size: int, seed: int = 1, start: int = 0) -> bytes:
    """Bytes `start` to `start + size` of the endless stream that `seed` names: no two alike."""
    return blake3(b"mediastore test content %d" % seed).digest(size, seek=start)


def pieces(size: int, seed: int = 1, start: int = 0, *, piece: int = MIB) -> Iterator[bytes]:
    """The same, piece by piece."""
    for offset in range(start, size, piece):
        yield content(min(piece, size - offset), seed, offset)


def blob_of(size: int, seed: int = 1) -> str:
    """The id of the blob that holds the first `size` bytes."""
    hasher = blake3()
    for piece in pieces(size, seed):
        hasher.update(piece)
    return hasher.hexdigest()
