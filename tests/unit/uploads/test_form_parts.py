"""The parts of a form, from bytes cut anywhere: what was sent, or a stable error."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mediastore.errors import TooLarge
from mediastore.request_errors import BadForm
from mediastore.uploads.body import BodyEnd
from mediastore.uploads.form_parts import OUTSIDE_MAX_BYTES, FormReader, boundary_of

BOUNDARY = "-b"
Told = tuple[str, str | None, str | None, bytes]


def form_of(parts: Sequence[tuple[str, str | None, bytes]]) -> bytes:
    body = b""
    for name, filename, data in parts:
        file = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: a/b'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


async def nothing() -> None:
    """Nobody needs memory here."""


class Pieces:
    """A body that comes in these pieces."""

    def __init__(self, pieces: Iterable[bytes], end: BodyEnd = BodyEnd.WHOLE) -> None:
        self._pieces = iter(pieces)
        self._end = end
        self.end: BodyEnd | None = None
        self.received_bytes = 0

    async def read(self) -> bytes | None:
        piece = next(self._pieces, None)
        if piece is None:
            self.end = self._end
        else:
            self.received_bytes += len(piece)
        return piece

    def wake(self) -> None:
        """Nobody is asleep."""

    def forgive(self) -> None:
        """No rate here."""


def form_on(body: Pieces) -> FormReader:
    return FormReader(body, BOUNDARY, parts_max=50, part_max_bytes=100_000)


async def parts_of(
    pieces: Sequence[bytes], *, end: BodyEnd = BodyEnd.WHOLE, read: bool = True
) -> tuple[list[Told], FormReader]:
    """Every part that comes out whole when the body comes in these pieces."""
    form = form_on(Pieces(pieces, end))
    told: list[Told] = []
    while (part := await form.next_part(nothing)) is not None:
        data = b""
        while read and (piece := await part.read()) is not None:
            data += piece
        if part.end in (None, BodyEnd.WHOLE):
            told.append((part.field, part.filename, part.content_type, data))
    return told, form


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


names = st.text(st.characters(codec="utf-8", exclude_characters='"\\%\r\n\0'), max_size=8)
# Bytes that look like what is looked for.
tricky = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"--", b"-b", b"\r\n--", b"\r\n-", b"x", b"\0"]),
    max_size=12,
).map(b"".join)
contents = (st.binary(max_size=60) | tricky).filter(lambda data: b"\r\n---b" not in b"\r\n" + data)
forms = st.lists(st.tuples(names, st.none() | names, contents), max_size=5)
places = st.lists(st.integers(0, 2000), max_size=12)


@given(forms, places)
@example([("a", "b", b"\r\n--")], list(range(200)))
def test_what_is_sent_comes_out_however_it_is_cut(
    parts: list[tuple[str, str | None, bytes]], places: list[int]
) -> None:
    told, form = asyncio.run(parts_of(cut(form_of(parts), places)))
    wanted = [(n, f, None if f is None else "a/b", data) for n, f, data in parts]
    assert told == wanted
    assert form.end is BodyEnd.WHOLE


@given(forms, places, st.integers(0, 2000))
def test_a_body_that_breaks_off_gives_only_parts_that_were_whole(
    parts: list[tuple[str, str | None, bytes]], places: list[int], length: int
) -> None:
    body = form_of(parts)
    body = body[: length % (len(body) + 1)]
    told, form = asyncio.run(parts_of(cut(body, places), end=BodyEnd.BROKEN))
    wanted = [(n, f, None if f is None else "a/b", data) for n, f, data in parts]
    assert told == wanted[: len(told)]
    assert form.end in (BodyEnd.BROKEN, BodyEnd.WHOLE)


@given(forms, places, st.integers(0, 2000))
def test_a_form_that_ends_too_soon_is_refused(
    parts: list[tuple[str, str | None, bytes]], places: list[int], length: int
) -> None:
    body = form_of(parts)[: -len("--\r\n")]
    with pytest.raises(BadForm):
        asyncio.run(parts_of(cut(body[: length % (len(body) + 1)], places)))


changes = st.lists(
    st.tuples(st.integers(0, 1000), st.sampled_from([0, 10, 13, 34, 45, 58, 59, 98, 255])),
    max_size=6,
)


@given(forms, changes, places)
def test_whatever_comes_ends_in_parts_or_a_stable_error(
    parts: list[tuple[str, str | None, bytes]], changes: list[tuple[int, int]], places: list[int]
) -> None:
    body = bytearray(form_of(parts))
    for place, byte in changes:
        body[place % len(body)] = byte
    with suppress(BadForm, TooLarge):
        asyncio.run(parts_of(cut(bytes(body), places)))


@given(st.binary(max_size=300), places)
def test_random_bytes_are_no_form(data: bytes, places: list[int]) -> None:
    with pytest.raises((BadForm, TooLarge)):
        asyncio.run(parts_of(cut(data, places)))


async def test_parts_that_nobody_reads_are_passed_over() -> None:
    parts: list[tuple[str, str | None, bytes]] = [("a", "1", b"x" * 5000), ("b", "2", b"y")]
    told, _ = await parts_of(cut(form_of(parts), [100, 2000]), read=False)
    assert [name for name, *_ in told] == ["a", "b"]


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 10_000_000,
        form_of([("a", "b", b"x")]) + b"\r\n" * 1_000_000,
        b"---b\r\nX: " + b"y" * 10_000_000,
        b"---b\r\n" + b"X: y\r\n" * 1_000_000,
        form_of([("a", "b", b"x" * 100_001)]),
        form_of([("a", "b", b"x")] * 51),
    ],
    ids=["preamble", "epilogue", "header", "headers", "part", "parts"],
)
async def test_nothing_is_read_for_ever(body: bytes) -> None:
    sent = Pieces(body[at : at + 4096] for at in range(0, len(body), 4096))
    form = form_on(sent)

    async def read_all() -> None:
        while (part := await form.next_part(nothing)) is not None:
            await part.skip()

    with pytest.raises((BadForm, TooLarge)):
        await read_all()
    assert sent.received_bytes < OUTSIDE_MAX_BYTES + 110_000


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('multipart/form-data; charset=utf-8; boundary="a b:c"', "a b:c"),
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4", "----WebKitFormBoundary7MA4"),
    ],
)
def test_boundaries(content_type: str, boundary: str) -> None:
    assert boundary_of(content_type) == boundary


@given(st.text())
def test_any_content_type_has_a_boundary_or_is_refused(text: str) -> None:
    try:
        assert 0 < len(boundary_of(f"multipart/form-data; boundary={text}")) <= 70
    except BadForm:
        return
