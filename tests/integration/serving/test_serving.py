"""The runner: what a request in progress gets when the process is told to stop."""

import asyncio
import os
import signal
import sys
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from mediastore.clock import Clock, SystemClock
from mediastore.errors import BadSettings
from mediastore.serving import Listening, serve
from mediastore.settings import Settings, load_settings
from mediastore.telemetry.health import READINESS, Readiness, health_routes
from mediastore.telemetry.metrics import Metrics


class Doors:
    """What the tests' handlers wait for, and what they saw."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.leave = asyncio.Event()
        self.committed = b""


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    doors = Doors()

    async def slow(_request: web.Request) -> web.Response:
        doors.entered.set()
        await doors.leave.wait()
        return web.Response(text="done")

    async def upload(request: web.Request) -> web.Response:
        held = b""
        try:
            while data := await request.content.readany():
                held += data
                doors.entered.set()
        finally:
            doors.committed = held
        return web.Response(text=held.decode("latin-1"))

    async def broken(_request: web.Request) -> web.Response:
        raise RuntimeError("a defect")

    def build_app(_settings: Settings, *, clock: Clock, metrics: Metrics) -> web.Application:
        app = web.Application()
        app[READINESS] = Readiness({}, clock)
        app.add_routes([web.get("/slow", slow), web.post("/upload", upload)])
        app.add_routes([web.get("/broken", broken)])
        app.add_routes(health_routes(app[READINESS]))
        return app

    module = types.ModuleType("mediastore.app")
    vars(module)["build_app"] = build_app
    monkeypatch.setitem(sys.modules, "mediastore.app", module)
    return doors


@asynccontextmanager
async def serving(**http: float) -> AsyncIterator[tuple[Listening, "asyncio.Task[None]"]]:
    settings = load_settings(http={"port": 0, "metrics_port": 0, **http})
    listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, SystemClock(), on_listening=listening.set_result))
    try:
        either: list[asyncio.Future[Any]] = [listening, task]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()  # why it never listened
        yield await listening, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def test_a_running_request_ends_and_new_ones_are_refused(doors: Doors) -> None:
    async with serving() as (at, task), aiohttp.ClientSession() as session:
        running = asyncio.create_task(session.get(f"{at.url}/slow"))
        await doors.entered.wait()
        stop()
        while True:  # until the listening socket is closed
            try:
                async with aiohttp.ClientSession() as fresh, fresh.get(f"{at.url}/healthz"):
                    await asyncio.sleep(0)
            except aiohttp.ClientConnectorError:
                break
        doors.leave.set()
        async with await running as response:
            assert await response.text() == "done"
        await task


async def test_not_ready_before_it_stops_accepting(doors: Doors) -> None:
    async with serving(shutdown_delay_seconds=60) as (at, _), aiohttp.ClientSession() as session:
        async with session.get(f"{at.url}/readyz") as response:
            assert response.status == 200
        stop()
        await asyncio.sleep(0)
        status = 200
        while status == 200:
            async with session.get(f"{at.url}/readyz") as response:
                status = response.status
        assert status == 503
        stop()  # the second signal does not wait for the delay


async def test_a_body_still_coming_is_cut_and_its_handler_keeps_what_came(doors: Doors) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"kept"
        await asyncio.Event().wait()

    async with (
        serving(shutdown_grace_seconds=0.2) as (at, task),
        aiohttp.ClientSession() as session,
    ):
        sending = asyncio.create_task(session.post(f"{at.url}/upload", data=endless()))
        await doors.entered.wait()
        stop()
        await task
        assert doors.committed == b"kept"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_an_encoded_body_is_kept_as_it_was_sent(doors: Doors) -> None:
    async with serving() as (at, _), aiohttp.ClientSession() as session:
        headers = {"Content-Encoding": "gzip"}
        async with session.post(f"{at.url}/upload", data=b"not gzip", headers=headers) as response:
            assert await response.text() == "not gzip"


async def test_metrics_are_on_a_port_of_their_own(doors: Doors) -> None:
    async with serving() as (at, _), aiohttp.ClientSession() as session:
        if at.metrics_url is None:
            raise AssertionError("the metrics listener is off")
        async with session.get(at.metrics_url) as response:
            assert "mediastore_requests_in_progress" in await response.text()
        async with session.get(f"{at.url}/metrics") as response:
            assert response.status == 404


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"DELETE /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"GET /broken HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 500),
        (b"nonsense\r\n\r\n", 400),  # answered below the application
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else str(value),
)
async def test_no_answer_names_versions(doors: Doors, request_: bytes, status: int) -> None:
    async with serving() as (at, _):
        port = int(at.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_)
        head = (await reader.read()).partition(b"\r\n\r\n")[0].decode()
        writer.close()
    lines = head.split("\r\n")
    assert lines[0].split(" ")[1] == str(status)
    assert [line for line in lines if line.lower().startswith("server:")] == ["Server: mediastore"]
    assert "python" not in head.lower()
    assert "aiohttp" not in head.lower()


async def test_a_taken_port_is_one_clear_error(doors: Doors) -> None:
    async with serving() as (at, _):
        port = int(at.url.rsplit(":", 1)[1])
        settings = load_settings(http={"port": port, "metrics_port": -1})
        with pytest.raises(BadSettings, match="cannot listen on"):
            await serve(settings, SystemClock())
