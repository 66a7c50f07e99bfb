"""From bytes as they come to named chunks: the chunker, and what is worth a thread."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mediastore.content.chunker import Chunker
from mediastore.content.hashing import THREAD_WORTH_BYTES, name_chunk
from mediastore.settings import ChunkingSettings


@dataclass(frozen=True, slots=True)
class NamedChunk:
    """A chunk with its name and checksum, taken over the same immutable bytes that are stored."""

    hash: bytes
    crc32: int
    data: bytes


def named(data: bytes) -> NamedChunk:
    name = name_chunk(data)
    return NamedChunk(name.hash, name.crc32, data)


class Cutter:
    """Cuts and names one body; scanning and hashing leave the event loop when they are long."""

    def __init__(self, chunking: ChunkingSettings) -> None:
        self._chunker = Chunker(
            chunking.size_min_bytes, chunking.size_average_bytes, chunking.size_max_bytes
        )
        self._size_max_bytes = chunking.size_max_bytes

    @property
    def buffered_bytes(self) -> int:
        """Bytes fed and not cut yet."""
        return self._chunker.buffered_bytes

    def feed(self, piece: bytes) -> None:
        self._chunker.feed(piece)

    async def take(self) -> list[NamedChunk]:
        """The chunks that are certain by now."""
        if self._chunker.buffered_bytes < self._size_max_bytes:
            return []
        return await asyncio.to_thread(_named, self._chunker.take)

    async def flush(self) -> list[NamedChunk]:
        """Everything that is left; the end of a request also ends a chunk."""
        if self._chunker.buffered_bytes < THREAD_WORTH_BYTES:
            return _named(self._chunker.flush)
        return await asyncio.to_thread(_named, self._chunker.flush)


def _named(cut: Callable[[], list[bytes]]) -> list[NamedChunk]:
    return [named(data) for data in cut()]
