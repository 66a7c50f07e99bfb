"""The parts of a multipart/form-data body (RFC 7578), one behind the other, as its bytes come.

The grammar is PushMultipartParser's; this module reads the request for it, bounds whatever comes
outside of a part's content, and hands every part out as a body that a session can read. Of a part
no more is held than one piece of the request. A part may not be nested: a part that is itself
multipart is content like any other.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from multipart import parse_options_header as parse_header

from mediastore.errors import TooLarge
from mediastore.request_errors import BadForm
from mediastore.uploads.body import Body, BodyEnd

HEADER_MAX_BYTES = 8 * 1024
HEADERS_MAX = 16
# Of a preamble, a part's headers, or what follows the last boundary, read in a row.
OUTSIDE_MAX_BYTES = 192 * 1024
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, 5.1.1
_DRY = object()
_Event: TypeAlias = "MultipartSegment | bytes | None"


def boundary_of(content_type: str) -> str:
    """Raises BadForm."""
    _, options = parse_header(content_type)
    boundary = options.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadForm("Content-Type has no valid boundary")
    return str(boundary)


class FormPart:
    """One part; as a body it ends where the part does."""

    def __init__(self, form: "FormReader", segment: MultipartSegment) -> None:
        self._form = form
        self.field: str = segment.name or ""
        self.filename: str | None = segment.filename
        self.content_type: str | None = segment.header("Content-Type")
        self.transfer_encoding: str | None = segment.header("Content-Transfer-Encoding")
        self.end: BodyEnd | None = None
        self._unread = b""

    async def read(self) -> bytes | None:
        """As BodyReader's: the next bytes, b"" when woken, None at the end. Raises BadForm,
        TooLarge.
        """
        if self._unread:
            piece, self._unread = self._unread, b""
            return piece
        if self.end is not None:
            return None
        event = await self._form.next_event()
        if isinstance(event, bytes):
            return event
        self.end = self._form.end or BodyEnd.WHOLE
        return None

    def unread(self, piece: bytes) -> None:
        """Let the next `read` give this piece, the one just read, again."""
        self._unread = piece

    def wake(self) -> None:
        self._form.body.wake()

    def forgive(self) -> None:
        self._form.body.forgive()

    async def skip(self) -> None:
        """Read what is left of the part and drop it."""
        while await self.read() is not None:
            pass


class FormReader:
    """Reads a form's parts in order. `end` is set when there are no more of them."""

    def __init__(self, body: Body, boundary: str, *, parts_max: int, part_max_bytes: int) -> None:
        self.body = body
        self.end: BodyEnd | None = None
        self._parser = PushMultipartParser(
            boundary,
            max_header_size=HEADER_MAX_BYTES,
            max_header_count=HEADERS_MAX,
            max_segment_count=parts_max,
            max_segment_size=part_max_bytes,
        )
        self._events: Iterator[_Event] = iter(())
        self._outside_bytes = 0

    async def next_part(self, woken: Callable[[], Awaitable[None]]) -> FormPart | None:
        """The next part; what is left of the one before is dropped. None at the end.

        `woken` is called when others need memory meanwhile. Raises BadForm, TooLarge.
        """
        while self.end is None:
            event = await self.next_event()
            if isinstance(event, MultipartSegment):
                return FormPart(self, event)
            if event == b"":
                await woken()
        return None

    async def next_event(self) -> _Event:
        """What the parser finds next: a part's headers, its bytes, None at its end; b"" when woken,
        and None when the body has ended, which is in `end`.
        """
        while True:
            event = self._parsed()
            if event is not _DRY:
                self._outside_bytes = 0
                return event
            if self._outside_bytes > OUTSIDE_MAX_BYTES:
                raise BadForm("there is too much outside of the form's parts")
            piece = await self.body.read()
            if piece is None:
                self._finish(self.body.end or BodyEnd.WHOLE)
                return None
            if not piece:
                return b""
            self._outside_bytes += len(piece)
            self._events = self._parser.parse(piece)

    def _parsed(self) -> Any:
        try:
            return next(self._events, _DRY)
        except ParserLimitReached as error:
            raise TooLarge(f"the form goes past a limit: {error}") from None
        except MultipartError as error:
            raise BadForm(f"the form cannot be read: {error}") from None

    def _finish(self, end: BodyEnd) -> None:
        """A body that ends behind the form's last boundary is whole, however it ends."""
        try:
            self._parser.close()
        except MultipartError:
            if end is BodyEnd.WHOLE:
                raise BadForm("the form ends before its last boundary") from None
            self.end = end
        else:
            self.end = BodyEnd.WHOLE
