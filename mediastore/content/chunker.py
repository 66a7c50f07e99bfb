"""Streaming content-defined chunking: FastCDC over whatever pieces the network delivers.

Owns where content is cut. The same bytes between two flushes are cut at the same places however
they were split into reads: FastCDC never looks further than `size_max_bytes` past the last cut, so
a cut is made only while that much is buffered, or at a flush.

Chunks are shared between versions of this software only as long as all of them cut alike, so
nothing here may change the cuts: the golden vectors in tests/unit/content/ hold that.
"""

from typing import Final

from pyfastcdc import FastCDC

from mediastore.buffers import SpareBuffers

# pyfastcdc's default gear table, that of the FastCDC authors' and of fastcdc-rs. A seed of our own
# would hide cut points from whoever guesses at content by chunk sizes, but sizes are not shown to
# anyone, and another seed would share nothing with what is stored already.
SEED: Final = 0
# Level 2: with a max of twice the average, level 1 cuts 8 to 13 % of chunks by force at the max,
# where the cut depends on the chunk's start and not on content; level 2 cuts 1 to 3 % so, and at
# the default sizes versions of files share slightly more (docs/decisions/0002-chunk-size.md).
NORMALIZATION: Final = 2

# Kept free behind a whole chunk, so that what a socket gives at once does not need a larger buffer.
FEED_ROOM_BYTES: Final = 256 * 1024
# Shorter pieces are put together as they come: an object for each would outweigh its bytes.
KEPT_PIECE_MIN_BYTES: Final = 4 * 1024
# How much a buffer takes: the more, the less of it is what was left in the one before.
BUFFER_CHUNKS: Final = 2
Piece = bytes | bytearray | memoryview
Chunk = bytes | memoryview
_NO_BUFFER: Final = memoryview(b"")


def require_compiled(implementation: type) -> None:
    """Raises ImportError for pyfastcdc's pure-Python fallback, which cuts at under 0.02 GB/s."""
    if not implementation.__module__.startswith("pyfastcdc.cy."):
        raise ImportError(
            "pyfastcdc was installed without its compiled extension and is too slow to serve with; "
            "reinstall it from a wheel, or with PYFASTCDC_REQUIRE_CYTHON=1 and a C compiler"
        )


require_compiled(FastCDC)


class Chunker:
    """Cuts one upload's bytes; used by one task or thread at a time.

    Content of up to `size_min_bytes` is one chunk without a scan: its pieces are kept as they came,
    and a single one is handed out as it is. Longer content is copied into a buffer, and its chunks
    are read-only views of that; the rest, less than `size_max_bytes`, moves on to the next buffer
    when one is full. Scanning releases the GIL and reads each byte about once (a chunk's first
    `size_min_bytes` not at all).

    Buffers are of `spare`, from the first byte past the min to the next flush, and come free when
    their last chunk is let go.

    `size_average_bytes` is FastCDC's normal point, where the cut condition turns easier. The mean
    comes out a little above it on content without repetitions (docs/performance.md).
    """

    def __init__(
        self,
        size_min_bytes: int,
        size_average_bytes: int,
        size_max_bytes: int,
        *,
        spare: SpareBuffers | None = None,
    ) -> None:
        """Raises ValueError unless min < average < max, within what pyfastcdc takes:
        64 to 1 MiB, 256 to 4 MiB, 1024 to 16 MiB.
        """
        if not size_min_bytes < size_average_bytes < size_max_bytes:
            raise ValueError("a chunker needs size_min_bytes < size_average_bytes < size_max_bytes")
        self._size_min_bytes = size_min_bytes
        self._size_max_bytes = size_max_bytes
        self._fastcdc = FastCDC(
            size_average_bytes,
            # It scans in steps of two from min rounded down to even; an odd min could be undercut.
            min_size=size_min_bytes + size_min_bytes % 2,
            max_size=size_max_bytes,
            normalized_chunking=NORMALIZATION,
            seed=SEED,
        )
        self._spare = spare or SpareBuffers()
        # All there is, while that is no more than a min.
        self._short: list[Piece] = []
        self._short_bytes = 0
        # Else it lies here; what is before it was handed out and is not written again.
        self._buffer = _NO_BUFFER
        self._start = 0
        self._end = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes fed and not yet handed out."""
        return self._short_bytes + self._end - self._start

    def feed(self, piece: Piece) -> None:
        """Append `piece`; the caller bounds what it feeds before it takes."""
        size = len(piece)
        if not self._buffer and self._short_bytes + size <= self._size_min_bytes:
            self._keep(piece)
            return
        if self._end + size > len(self._buffer):
            self._move_on(size)
        self._buffer[self._end : self._end + size] = piece
        self._end += size

    def take(self) -> list[Chunk]:
        """The complete chunks that no further byte could change; often none."""
        return self._cut(self._size_max_bytes)

    def flush(self) -> list[Chunk]:
        """Everything that remains, cut, the last chunk as short as it happens to be."""
        if self._short:
            chunks: list[Chunk] = [b"".join(self._short)]
            self._short, self._short_bytes = [], 0
            return chunks
        chunks = self._cut(1)
        self._leave_buffer()
        return chunks

    def _keep(self, piece: Piece) -> None:
        if len(piece) >= KEPT_PIECE_MIN_BYTES:
            self._short.append(bytes(piece))
        elif self._short and isinstance(self._short[-1], bytearray):
            self._short[-1] += piece
        elif piece:
            self._short.append(bytearray(piece))
        self._short_bytes += len(piece)

    def _move_on(self, more_bytes: int) -> None:
        """To a buffer that takes `more_bytes`, with everything so far at its front."""
        size = self.buffered_bytes + more_bytes
        room = max(size, BUFFER_CHUNKS * self._size_max_bytes) + FEED_ROOM_BYTES
        buffer, end = self._spare.take(room), 0
        for piece in self._short or [self._buffer[self._start : self._end]]:
            buffer[end : end + len(piece)] = piece
            end += len(piece)
        self._short, self._short_bytes = [], 0
        self._leave_buffer()
        self._buffer, self._end = buffer, end

    def _leave_buffer(self) -> None:
        if self._buffer:
            self._spare.give(self._buffer)
        self._buffer, self._start, self._end = _NO_BUFFER, 0, 0

    def _cut(self, lookahead_bytes: int) -> list[Chunk]:
        """Cut while at least `lookahead_bytes` are left."""
        if self.buffered_bytes < lookahead_bytes:
            return []
        chunks: list[Chunk] = []
        cuts = self._fastcdc.cut_buf(self._buffer[self._start : self._end])
        while self._end - self._start >= lookahead_bytes:
            start, self._start = self._start, self._start + next(cuts).length
            chunks.append(self._buffer[start : self._start].toreadonly())
        return chunks
