"""A read, from the question whether it is allowed to its last byte.

The order: allowed (INV-10), preconditions, ranges, the first chunk verified (INV-9), and only then
a status line. So whatever is wrong by then is told as a problem; what goes wrong later ends the
connection before any byte of a chunk that is not whole and verified.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import hdrs, web

from mediastore.clock import Clock
from mediastore.delivery.allowed import AllowedReads
from mediastore.delivery.chunks import Standing
from mediastore.delivery.conditionals import Outcome, evaluate, range_applies
from mediastore.delivery.granting import Grant
from mediastore.delivery.headers import (
    Asked,
    HeaderFields,
    HeaderLines,
    HeaderRenderer,
    wanted_digest,
)
from mediastore.delivery.multipart import multipart
from mediastore.delivery.ranges import ByteRange, parse_ranges
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
from mediastore.tenant_cors import TenantCors

log = structlog.get_logger(__name__)

# Up to here a body is copied behind its headers and sent in one write.
SMALL_BODY_BYTES: Final = 64 * 1024
# What is not the cache's own is sent in copies of this size: all that a stalled reader may hold.
SLICE_BYTES: Final = 64 * 1024
# RFC 9211, and how long the first chunk took.
_HIT: Final = b"Cache-Status: mediastore; hit\r\nServer-Timing: read;desc=hit;dur=0\r\n"
_MISS: Final = b"Cache-Status: mediastore; fwd=miss%b\r\nServer-Timing: read;desc=miss;dur=%.1f\r\n"
WANT_REPR_DIGEST: Final = "Want-Repr-Digest"
Parts = Sequence[tuple[bytes, ByteRange]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Answers reads. Made once; holds no state of requests."""

    allowed: AllowedReads
    parts: ReaderParts
    clock: Clock
    metrics: Metrics
    date: DateLine
    cors: TenantCors
    renderer: HeaderRenderer
    send_idle_timeout_seconds: float
    ranges_max: int

    async def answer(
        self,
        request: web.Request,
        readable: Readable,
        filename: str | None,
        grant: Grant,
        also: HeaderFields = (),
    ) -> web.StreamResponse:
        """Answer a GET or HEAD of something that this client may read. `also` are header fields
        for any status.
        """
        headers = request.headers
        if WANT_REPR_DIGEST in headers:
            digest = wanted_digest(headers.getall(WANT_REPR_DIGEST))
            asked = Asked(filename, grant, digest, also)
        else:
            asked = Asked(filename, grant, also=also)
        lines = readable.lines(asked, self.renderer)
        try:
            outcome = self._preconditions(request, lines)
            if outcome is Outcome.NOT_MODIFIED:
                return await self._answer(request, readable, 304).send_whole(lines.not_modified)
            ranges = self._ranges(request, readable, lines)
        except RangeNotSatisfiable as error:
            response = problem_response(error)
            response.headers["Content-Range"] = f"bytes */{readable.size}"
            return response
        if ranges is None:
            answer, block = self._answer(request, readable, 200), lines.whole
            parts: Parts = ((b"", ByteRange(0, readable.size)),)
            tail = b""
        else:
            answer = self._answer(request, readable, 206)
            block, parts, tail = _partial(ranges, lines, readable.size)
        try:
            if request.method == hdrs.METH_HEAD or readable.size == 0:
                return await answer.send_whole(block)
            if not tail:
                first = parts[0][1]
                if first.end - first.start <= SMALL_BODY_BYTES:
                    # The whole of a blob of one chunk has the blob's own hash.
                    data = self.parts.chunks.peek(readable.blob)
                    if data is not None:
                        self.metrics.bytes_sent.inc(first.end - first.start)
                        return await answer.send_whole(block + _HIT, data[first.start : first.end])
            return await self._stream(answer, block, readable, parts, tail)
        except ConnectionError:
            return answer.give_up()

    def whole_from_memory(
        self,
        request: web.Request,
        readable: Readable,
        filename: str,
        grant: Grant,
        also: HeaderFields,
    ) -> tuple[Answer, bytes]:
        """For a GET without conditions, by a grant that needed no key: the answer, not yet begun,
        and its header lines. `also` as in `answer`.
        """
        whole = readable.whole_lines(filename, grant, also, self.renderer)
        return self._answer(request, readable, 200), whole + _HIT

    def _answer(self, request: web.Request, readable: Readable, status: int) -> Answer:
        marks = self.date.current()
        cors = self.cors.of(readable.content.cors_origins)
        if cors is not None:
            marks += cors.lines(request.headers.get(hdrs.ORIGIN))
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

    def _ranges(
        self, request: web.Request, readable: Readable, lines: HeaderLines
    ) -> list[ByteRange] | None:
        """None for the whole. Range has a meaning for GET alone (14.2), and one line of it."""
        header = request.headers.get(hdrs.RANGE)
        if header is None or request.method != hdrs.METH_GET:
            return None
        if len(request.headers.getall(hdrs.RANGE)) > 1:
            return None
        if_range = request.headers.get(hdrs.IF_RANGE)
        if not range_applies(if_range, lines.validators, now=self.clock.now()):
            return None
        return parse_ranges(header, readable.size, ranges_max=self.ranges_max)

    async def _stream(
        self, answer: Answer, block: bytes, readable: Readable, parts: Parts, tail: bytes
    ) -> web.StreamResponse:
        # A blob of one chunk has that chunk's hash: if it is at hand, its manifest is not needed.
        whole = self.parts.chunks.take_at_hand(readable.blob)
        if whole is not None:
            try:
                answer.begin(block + _HIT)
                for head, part in parts:
                    await answer.send_if_any(head)
                    await self._send(answer, Piece(whole, part.start, part.end))
                await answer.send_if_any(tail)
            finally:
                whole.release()
            return answer.finish()
        started = self.clock.monotonic()
        begun = False
        try:
            for head, part in parts:
                async with BlobReader(
                    self.parts, readable.blob, readable.size, part.start, part.end
                ) as reader:
                    piece = await reader.next()
                    if not begun:  # what is wrong by here is told as a problem
                        answer.begin(block + self._first_read(reader, started))
                        begun = True
                    await answer.send_if_any(head)
                    while piece is not None:
                        await self._send(answer, piece)
                        piece = await reader.next()
            await answer.send_if_any(tail)
        except MediastoreError as error:
            if not begun:
                raise
            log.error("answer_broken_off", code=error.code, detail=error.detail)
            return answer.break_off()
        return answer.finish()

    def _first_read(self, reader: BlobReader, started: float) -> bytes:
        """Where the first chunk came from, as header lines."""
        if reader.first is Standing.AT_HAND:
            return _HIT
        collapsed = b"; collapsed" if reader.first is Standing.UNDER_WAY else b""
        return _MISS % (collapsed, (self.clock.monotonic() - started) * 1000)

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


def _partial(
    ranges: Sequence[ByteRange], lines: HeaderLines, size: int
) -> tuple[bytes, Parts, bytes]:
    """The header lines of a 206, its parts, and what ends its body."""
    if len(ranges) == 1:
        (wanted,) = ranges
        block = b"%bContent-Length: %d\r\nContent-Range: %b\r\n" % (
            lines.content,
            wanted.end - wanted.start,
            wanted.content_range(size).encode(),
        )
        return block, ((b"", wanted),), b""
    body = multipart(ranges, lines.content_type, size)
    block = b"%b%bContent-Length: %d\r\n" % (body.content_type, lines.but_type, body.length)
    return block, body.parts, body.tail
