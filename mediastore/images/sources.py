"""The bytes of a picture on their way to a worker: verified (INV-9), and a slice at a time."""

from typing import Final

from mediastore.delivery.reader import BlobReader, ReaderParts
from mediastore.images.worker_process import Source

_SLICE_BYTES: Final = 256 * 1024


async def verified_source(reads: ReaderParts, blob: bytes, size: int) -> Source:
    """All of a blob. Raises what reading raises."""
    async with BlobReader(reads, blob, size, 0, size) as reader:
        while (piece := await reader.next()) is not None:
            for start in range(piece.start, piece.end, _SLICE_BYTES):
                yield await piece.chunk.read(start, min(start + _SLICE_BYTES, piece.end))
