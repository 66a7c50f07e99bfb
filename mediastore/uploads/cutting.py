"""From bytes as they come to named chunks: the chunker, and what is worth a thread."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mediastore.content.chunker import Chunk, Chunker
from mediastore.content.digests import Digester
from mediastore.content.hashing import THREAD_WORTH_BYTES, BlobHasher, name_chunk
from mediastore.memory import Reservation
from mediastore.settings import ChunkingSettings


@dataclass(frozen=True, slots=True)
class NamedChunk:
    """A chunk with its name and checksum, taken over the same bytes that are stored: they are not
    written again while anyone holds them.
    """

    hash: bytes
    crc32: int
    data: Chunk


def named(data: Chunk, blob: BlobHasher | None = None, body: Digester | None = None) -> NamedChunk:
    name = name_chunk(data, blob, body)
    return NamedChunk(name.hash, name.crc32, data)


class Cutter:
    """Cuts and names one body; scanning and hashing leave the event loop when they are long. What
    is cut has gone through `blob`, the running hash of the whole content if that stands at the
    body's beginning, and `body`, the digests of the body.
    """

    def __init__(
        self,
        chunking: ChunkingSettings,
        memory: Reservation,
        blob: BlobHasher | None = None,
        body: Digester | None = None,
    ) -> None:
        self._chunker = Chunker(
            chunking.size_min_bytes,
            chunking.size_average_bytes,
            chunking.size_max_bytes,
            spare=memory.spare,
        )
        self._memory = memory
        self._size_max_bytes = chunking.size_max_bytes
        self._blob = blob
        self._body = body

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
        return await asyncio.to_thread(self._named, self._chunker.take)

    async def flush(self) -> list[NamedChunk]:
        """Everything that is left; the end of a request also ends a chunk."""
        if self._chunker.buffered_bytes < THREAD_WORTH_BYTES:
            return self._named(self._chunker.flush)
        return await asyncio.to_thread(self._named, self._chunker.flush)

    def _named(self, cut: Callable[[], list[Chunk]]) -> list[NamedChunk]:
        """A chunk that is a view keeps all of its buffer, which the budget does not count: where
        memory is short, it is a copy instead.
        """
        copied = not self._memory.roomy
        return [named(bytes(c) if copied else c, self._blob, self._body) for c in cut()]
