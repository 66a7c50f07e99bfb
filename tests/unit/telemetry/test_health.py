"""/readyz tells each part's state and why, asks seldom, and does not wait for a part that hangs."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from mediastore.errors import ChunkStoreUnavailable
from mediastore.telemetry.health import READY, Readiness, health_routes


class StillClock:
    """A clock that moves when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


async def fine() -> None:
    return


async def answer(readiness: Readiness, path: str) -> tuple[int, dict[str, Any]]:
    app = web.Application()
    app.add_routes(health_routes(readiness))
    async with TestClient(TestServer(app)) as client, client.get(path) as response:
        return response.status, await response.json()


async def test_ready_when_every_part_is() -> None:
    status, body = await answer(Readiness({"catalog": fine}, StillClock()), "/readyz")
    assert (status, body["status"]) == (200, "ready")
    assert body["parts"]["catalog"]["ready"] is True


async def test_a_part_that_fails_is_named_with_its_reason() -> None:
    async def broken() -> None:
        raise ChunkStoreUnavailable("no route")

    readiness = Readiness({"catalog": fine, "chunk_store": broken}, StillClock())
    status, body = await answer(readiness, "/readyz")
    assert status == 503
    assert body["parts"]["chunk_store"] == {
        "ready": False,
        "code": "chunk_store_unavailable",
        "reason": "no route",
    }
    assert body["parts"]["catalog"]["ready"] is True


async def test_a_part_that_hangs_is_not_ready() -> None:
    async def hanging() -> None:
        await asyncio.Event().wait()

    readiness = Readiness({"catalog": hanging}, StillClock(), timeout_seconds=0.01)
    status, body = await answer(readiness, "/readyz")
    assert (status, body["parts"]["catalog"]["code"]) == (503, "timeout")


async def test_an_unexpected_error_is_not_hidden() -> None:
    async def wrong() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Readiness({"catalog": wrong}, StillClock()).parts()


async def test_a_stopping_process_is_alive_but_not_ready() -> None:
    readiness = Readiness({"catalog": fine}, StillClock())
    readiness.stop()
    status, body = await answer(readiness, "/readyz")
    assert (status, body["parts"]["process"]["code"]) == (503, "shutting_down")
    assert (await answer(readiness, "/healthz"))[0] == 200


async def test_parts_are_asked_once_in_a_while_however_many_ask() -> None:
    asked = 0

    async def counting() -> None:
        nonlocal asked
        asked += 1

    clock = StillClock()
    readiness = Readiness({"catalog": counting}, clock, cache_seconds=2)
    await asyncio.gather(*(readiness.parts() for _ in range(20)))
    assert asked == 1
    clock.seconds = 2.5
    assert (await readiness.parts())["catalog"] == READY
    assert asked == 2
