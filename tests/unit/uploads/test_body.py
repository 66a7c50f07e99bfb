"""The body reader, and the one private thing of aiohttp that it uses."""

import asyncio
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader
from aiohttp.web_protocol import RequestPayloadError

from mediastore.clock import SystemClock
from mediastore.settings import HttpSettings, UploadSettings
from mediastore.uploads.body import BodyEnd, BodyReader, received_but_unread


def stream() -> StreamReader:
    return StreamReader(Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())


def reader(source: StreamReader, idle_seconds: float = 5) -> BodyReader:
    http = HttpSettings(body_idle_timeout_seconds=idle_seconds)
    return BodyReader(source, SystemClock(), http, UploadSettings())


async def test_a_whole_body() -> None:
    source = stream()
    source.feed_data(b"abc")
    source.feed_eof()
    body = reader(source)
    assert await body.read() == b"abc"
    assert await body.read() is None
    assert (body.end, body.received_bytes) == (BodyEnd.WHOLE, 3)


@pytest.mark.parametrize(
    "error", [ConnectionResetError("gone"), RequestPayloadError("bad framing")]
)
async def test_what_was_received_is_handed_over_before_the_end(error: Exception) -> None:
    source = stream()
    source.feed_data(b"abc")
    source.feed_data(b"def")
    source.set_exception(error)
    body = reader(source)
    assert await body.read() == b"abcdef"
    assert await body.read() is None
    assert (body.end, body.received_bytes) == (BodyEnd.BROKEN, 6)


async def test_a_break_while_waiting() -> None:
    source = stream()
    body = reader(source)
    waiting = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    source.set_exception(ConnectionResetError("gone"))
    assert await waiting is None
    assert body.end is BodyEnd.BROKEN


async def test_our_own_errors_are_not_taken_for_a_broken_connection() -> None:
    source = stream()
    source.set_exception(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        await reader(source).read()


async def test_silence_ends_the_body() -> None:
    body = reader(stream(), idle_seconds=0.01)
    assert await body.read() is None
    assert body.end is BodyEnd.SLOW


async def test_waking_loses_nothing() -> None:
    source = stream()
    body = reader(source)
    waiting = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    body.wake()
    assert await waiting == b""
    assert body.end is None
    source.feed_data(b"abc")
    assert await body.read() == b"abc"


async def test_an_interruption_ends_a_waiting_read_and_every_later_one() -> None:
    body = reader(stream())
    waiting = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    body.interrupt(BodyEnd.TAKEN)
    assert await waiting is None
    assert await body.read() is None
    assert body.end is BodyEnd.TAKEN


async def test_aiohttp_still_keeps_unread_bytes_where_we_look_for_them() -> None:
    source = stream()
    assert received_but_unread(source) == b""
    source.feed_data(b"abc")
    source.set_exception(ConnectionResetError())
    assert received_but_unread(source) == b"abc"


async def test_pieces_come_as_the_socket_gave_them() -> None:
    source = stream()
    source.feed_data(b"abc")
    source.feed_data(b"def")
    body = reader(source)
    assert [await body.read(), await body.read()] == [b"abc", b"def"]


async def test_the_end_of_an_http_chunk_is_not_taken_for_the_end_of_the_body() -> None:
    source = stream()
    source.begin_http_chunk_receiving()
    source.feed_data(b"abc")
    source.end_http_chunk_receiving()
    body = reader(source)
    assert await body.read() == b"abc"
    waiting = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    assert not waiting.done()
    source.begin_http_chunk_receiving()
    source.feed_data(b"def")
    source.end_http_chunk_receiving()
    source.feed_eof()
    assert [await waiting, await body.read()] == [b"def", None]
    assert (body.end, body.received_bytes) == (BodyEnd.WHOLE, 6)
