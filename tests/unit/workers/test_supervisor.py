"""Workers that end are replaced, not faster and faster; those that do not listen are told of."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from mediastore.errors import CatalogUnavailable
from mediastore.workers import supervisor
from mediastore.workers.channel import ChannelClosed
from mediastore.workers.supervisor import PAUSE_MAX_SECONDS, PAUSE_SECONDS, Supervisor
from tests.unit.chunkstore.fake_clock import FakeClock


class FakeWorker:
    """Ends when it is told to, or when a test says so."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.signals: list[signal.Signals] = []
        self.deaf: set[signal.Signals] = set()
        self.silent = False
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def metrics(self) -> list[Any]:
        if self.silent:
            await asyncio.Event().wait()
        if self._ended.done():
            raise ChannelClosed
        return [["requests", "counter", "r", [["requests_total", {}, 1.0]]]]

    async def ended(self) -> int:
        return await asyncio.shield(self._ended)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.signals.append(number)
        if number not in self.deaf:
            self.end(-number)

    def end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)


class World:
    """Starts workers; `problem`, while there is one, is what comes of it."""

    def __init__(self, workers: int = 2, **settings: Any) -> None:
        self.clock = FakeClock()
        self.started: list[FakeWorker] = []
        self.problem: Exception | None = None
        self.tries = 0
        self.supervisor = Supervisor(
            self._start,  # type: ignore[arg-type]
            workers,
            self.clock,
            stop_max_seconds=settings.get("stop_max_seconds", 5),
        )

    async def _start(self) -> FakeWorker:
        self.tries += 1
        if self.problem is not None:
            raise self.problem
        self.started.append(FakeWorker(100 + self.tries))
        return self.started[-1]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def seldom_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake clock's sleeps take no time, so looks would never end."""

    async def never(*_arguments: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Supervisor, "_keep_looking", never)


async def test_a_worker_that_has_ended_is_replaced() -> None:
    world = World()
    with capture_logs() as logged:
        async with world.supervisor.running():
            first, second = world.started
            first.end(-9)
            await until(lambda: len(world.started) == 3)
            await until(lambda: len(world.supervisor.pids) == 2)
            assert set(world.supervisor.pids) == {second.pid, world.started[2].pid}
            assert b"mediastore_worker_restarts_total 1.0" in await world.supervisor.metrics()
            assert b"mediastore_workers 2.0" in await world.supervisor.metrics()
    assert [worker.signals for worker in world.started] == [[], [signal.SIGTERM], [signal.SIGTERM]]
    (told,) = [entry for entry in logged if entry["event"] == "worker_ended"]
    assert (told["pid"], told["exit_code"]) == (first.pid, -9)


async def test_pauses_grow_while_new_ones_do_not_last() -> None:
    world = World(workers=1)
    async with world.supervisor.running():
        for number in range(8):
            world.started[-1].end(1)
            await until(lambda number=number: len(world.started) == number + 2)  # type: ignore[misc]
        pauses = world.clock.slept
        assert pauses[:5] == [PAUSE_SECONDS * 2**number for number in range(5)]
        assert pauses[-1] == PAUSE_MAX_SECONDS
        await world.clock.sleep(supervisor.STEADY_SECONDS)
        world.started[-1].end(1)
        await until(lambda: len(world.started) == 10)
        assert pauses[-1] == PAUSE_SECONDS


async def test_a_worker_that_cannot_be_started_again_is_tried_again() -> None:
    world = World(workers=1)
    async with world.supervisor.running():
        world.problem = CatalogUnavailable()
        world.started[0].end(1)
        await until(lambda: world.tries > 3)
        assert b"mediastore_workers 0.0" in await world.supervisor.metrics()
        world.problem = OSError("no more processes")
        tries = world.tries
        await until(lambda: world.tries > tries + 2)
        world.problem = None
        await until(lambda: len(world.supervisor.pids) == 1)


async def test_an_error_at_the_first_start_ends_all() -> None:
    world = World(workers=3)
    began = asyncio.Event()
    start = world.supervisor._start

    async def second_fails() -> Any:
        if len(world.started) == 1:
            await began.wait()
            raise CatalogUnavailable("it is down")
        began.set()
        return await start()

    world.supervisor._start = second_fails
    with pytest.raises(CatalogUnavailable, match="it is down"):
        async with world.supervisor.running():
            raise AssertionError("it runs")
    assert all(worker.signals for worker in world.started)
    assert world.supervisor.pids == []


async def test_what_does_not_stop_is_made_to() -> None:
    world = World(stop_max_seconds=0.05)
    async with world.supervisor.running():
        world.started[0].deaf = {signal.SIGTERM}
    assert world.started[0].signals == [signal.SIGTERM, signal.SIGKILL]
    assert world.started[1].signals == [signal.SIGTERM]


async def test_a_second_signal_is_passed_on() -> None:
    world = World(workers=1, stop_max_seconds=3600)

    async def run() -> None:
        async with world.supervisor.running():
            world.started[0].deaf = {signal.SIGTERM}

    running = asyncio.create_task(run())
    await until(lambda: bool(world.started and world.started[0].signals))
    world.started[0].deaf = set()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.started[0].signals == [signal.SIGTERM, signal.SIGTERM]


async def test_a_worker_that_says_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(supervisor, "HUNG_SECONDS", 0.05)
    world = World(workers=1)
    async with world.supervisor.running():
        (hanging,) = world.started
        hanging.silent = True
        await until(lambda: len(world.started) == 2)
        assert hanging.signals == [signal.SIGKILL]
        await until(lambda: len(world.supervisor.pids) == 1)


async def test_a_scrape_does_not_wait_for_a_worker_that_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "SCRAPE_SECONDS", 0.05)
    world = World()
    async with world.supervisor.running():
        assert b"\nrequests_total 2.0" in await world.supervisor.metrics()
        world.started[0].silent = True
        assert b"\nrequests_total 2.0" in await world.supervisor.metrics()  # as it was before
        world.started[0].end(-9)
        await until(lambda: len(world.started) == 3)
        assert b"\nrequests_total 3.0" in await world.supervisor.metrics()
