"""A read, from the question whether it is allowed to its last byte.

The order: allowed (INV-10), preconditions, range, the first chunk verified (INV-9), and only then a
status line. So whatever is wrong by then is told as a problem; what goes wrong later ends the
connection before any byte of a chunk that is not whole and verified.
"""

from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import hdrs, web

from mediastore.clock import Clock
from mediastore.cors import Cors
from mediastore.delivery.allowed import AllowedReads
from mediastore.delivery.conditionals import (
    Outcome,
    evaluate,
    range_applies,
)
from mediastore.delivery.headers import HeaderLines
from mediastore.delivery.ranges import ByteRange, parse_range
from mediastore.delivery.readable import Readable
from mediastore.delivery.reader import BlobReader, Piece, ReaderParts
from mediastore.delivery.sending import Answer, DateLine
from mediastore.errors import (
    MediastoreError,
    PreconditionFailed,
    RangeNotSatisfiable,
)
from mediastore.problems import problem_response
from mediastore.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

# Up to here a body is copied behind its headers and sent in one write.
SMALL_BODY_BYTES: Final = 64 * 1024
# What is not the cache's own is sent in copies of this size: all that a stalled reader may hold.
SLICE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Delivery:
    """Answers reads. Made once; holds no state of requests."""

    allowed: AllowedReads
    parts: ReaderParts
    clock: Clock
    metrics: Metrics
    date: DateLine
    cors: Cors | None
    send_idle_timeout_seconds: float

    async def answer(
        self, request: web.Request, readable: Readable, filename: str | None
    ) -> web.StreamResponse:
        """Answer a GET or HEAD of something that this client may read."""
        lines = readable.lines(filename)
        try:
            outcome = self._preconditions(request, lines)
            if outcome is Outcome.NOT_MODIFIED:
                return await self._answer(request, 304).send_whole(lines.not_modified)
            wanted = self._range(request, readable, lines)
        except RangeNotSatisfiable as error:
            response = problem_response(error)
            response.headers["Content-Range"] = f"bytes */{readable.size}"
            return response
        if wanted is None:
            answer, block = self._answer(request, 200), lines.whole
            start, end = 0, readable.size
        else:
            answer, start, end = self._answer(request, 206), wanted.start, wanted.end
            block = b"%bContent-Length: %d\r\nContent-Range: %b\r\n" % (
                lines.content,
                end - start,
                wanted.content_range(readable.size).encode(),
            )
        try:
            if request.method == hdrs.METH_HEAD or start == end:
                return await answer.send_whole(block)
            if end - start <= SMALL_BODY_BYTES:
                # The whole of a blob of one chunk has the blob's own hash.
                data = self.parts.chunks.peek(readable.blob)
                if data is not None:
                    self.metrics.bytes_sent.inc(end - start)
                    return await answer.send_whole(block, data[start:end])
            return await self._stream(answer, block, readable, start, end)
        except ConnectionError:
            return answer.give_up()

    def _answer(self, request: web.Request, status: int) -> Answer:
        marks = self.date.current()
        if self.cors is not None:
            marks += self.cors.lines(request.headers.get(hdrs.ORIGIN))
        return Answer(
            request,
            status,
            marks,
            idle_timeout_seconds=self.send_idle_timeout_seconds,
        )

    def _preconditions(self, request: web.Request, lines: HeaderLines) -> Outcome:
        headers = request.headers
        if not (
            hdrs.IF_NONE_MATCH in headers
            or hdrs.IF_MODIFIED_SINCE in headers
            or hdrs.IF_MATCH in headers
            or hdrs.IF_UNMODIFIED_SINCE in headers
        ):
            return Outcome.PROCEED
        outcome = evaluate(headers, lines.validators, now=self.clock.now())
        if outcome is Outcome.FAILED:
            raise PreconditionFailed
        return outcome

    def _range(
        self, request: web.Request, readable: Readable, lines: HeaderLines
    ) -> ByteRange | None:
        header = request.headers.get(hdrs.RANGE)
        if header is None or request.method != hdrs.METH_GET:
            return None
        if_range = request.headers.get(hdrs.IF_RANGE)
        if not range_applies(if_range, lines.validators, now=self.clock.now()):
            return None
        return parse_range(header, readable.size)

    async def _stream(
        self, answer: Answer, block: bytes, readable: Readable, start: int, end: int
    ) -> web.StreamResponse:
        # A blob of one chunk has that chunk's hash: if it is at hand, its manifest is not needed.
        whole = self.parts.chunks.take_at_hand(readable.blob)
        if whole is not None:
            try:
                answer.begin(block)
                return await self._send_or_break_off(answer, Piece(whole, start, end))
            finally:
                whole.release()
        async with BlobReader(self.parts, readable.blob, readable.size, start, end) as reader:
            piece = await reader.next()  # what is wrong by here is told as a problem
            answer.begin(block)
            return await self._send_or_break_off(answer, piece, reader)

    async def _send_or_break_off(
        self, answer: Answer, piece: Piece | None, reader: BlobReader | None = None
    ) -> web.StreamResponse:
        try:
            while piece is not None:
                await self._send(answer, piece)
                piece = None if reader is None else await reader.next()
        except MediastoreError as error:
            log.error("answer_broken_off", code=error.code, detail=error.detail)
            return answer.break_off()
        return answer.finish()

    async def _send(self, answer: Answer, piece: Piece) -> None:
        cached = piece.chunk.cached
        if cached is not None:
            whole = piece.end - piece.start == piece.chunk.size
            await answer.send(cached if whole else memoryview(cached)[piece.start : piece.end])
            self.metrics.bytes_sent.inc(piece.end - piece.start)
            return
        for position in range(piece.start, piece.end, SLICE_BYTES):
            data = await piece.chunk.read(position, min(position + SLICE_BYTES, piece.end))
            await answer.send(data)
            self.metrics.bytes_sent.inc(len(data))
