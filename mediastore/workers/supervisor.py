"""Runs several workers behind one port: starts them, replaces those that end, stops them together.

It serves nothing but /metrics, the sum of theirs. A worker that has ended, or that does not answer
for `HUNG_SECONDS`, is replaced after a pause that grows while new ones do not last. At the first
start an error of any of them ends all, with that error. On SIGTERM each of them stops as a process
alone does; on a second one they stop waiting.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from mediastore.clock import Clock
from mediastore.errors import MediastoreError
from mediastore.serving import Listening, base_url, listen_for_metrics, stop_on_signals
from mediastore.settings import Settings
from mediastore.workers.channel import ChannelClosed
from mediastore.workers.merging import Merged
from mediastore.workers.shared_port import reserved_port
from mediastore.workers.worker_process import WorkerProcess

log = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS: Final = 15.0
HUNG_SECONDS: Final = 60.0
SCRAPE_SECONDS: Final = 2.0  # a worker that takes longer is shown as it was before
PAUSE_SECONDS: Final = 1.0
PAUSE_MAX_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0  # who has lasted so long is replaced without a long pause
KILL_MARGIN_SECONDS: Final = 10.0
Start = Callable[[], Awaitable[WorkerProcess]]


async def supervise(
    settings: Settings, clock: Clock, *, on_listening: Callable[[Listening], None] | None = None
) -> None:
    """Serve with `http.workers` processes until SIGTERM or SIGINT. Raises MediastoreError at start
    only.
    """
    http = settings.http
    async with stop_on_signals() as stop:
        with reserved_port(http.host, http.port) as port:
            theirs = http.model_copy(update={"port": port, "metrics_port": -1, "workers": 1})
            given = settings.model_copy(update={"http": theirs})
            supervisor = Supervisor(
                lambda: WorkerProcess.start(given),
                http.workers,
                clock,
                stop_max_seconds=http.shutdown_delay_seconds
                + http.shutdown_grace_seconds
                + KILL_MARGIN_SECONDS,
            )
            async with (
                listen_for_metrics(http, supervisor.metrics) as metrics_url,
                supervisor.running(),
            ):
                url = base_url(http.host, port)
                log.info("listening", url=url, metrics_url=metrics_url, workers=http.workers)
                if on_listening is not None:
                    on_listening(Listening(url, metrics_url))
                await stop.wait()
                log.info("stopping")
    log.info("stopped")


class Supervisor:
    """So many workers, as long as `running` lasts."""

    def __init__(
        self, start: Start, workers: int, clock: Clock, *, stop_max_seconds: float
    ) -> None:
        self._start = start
        self._count = workers
        self._clock = clock
        self._stop_max_seconds = stop_max_seconds
        self._workers: dict[int, WorkerProcess] = {}
        self._looks: dict[int, asyncio.Task[None]] = {}
        self._stopping = False
        self._merged = Merged()
        self._registry = CollectorRegistry()
        self._registry.register(self._merged)
        self.counts = SupervisorMetrics(self._registry)
        self.counts.watch_workers(lambda: len(self._workers))

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers.values()]

    async def metrics(self) -> bytes:
        """The metrics of all workers as of one process, and the supervisor's own."""
        looks = [self._look(place) for place in list(self._workers)]
        if looks:
            _ = await asyncio.wait(looks, timeout=SCRAPE_SECONDS)
        return generate_latest(self._registry)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of them listen inside, and have ended behind it. Raises what ended a first start."""
        places = range(self._count)
        try:
            async with asyncio.TaskGroup() as starting:
                for place in places:
                    _ = starting.create_task(self._fill(place))
        except BaseExceptionGroup as group:
            await self._stop()
            raise _first(group) from None
        except asyncio.CancelledError:
            await self._stop()
            raise
        keeping = [asyncio.create_task(self._keep(place)) for place in places]
        try:
            yield
        finally:
            self._stopping = True
            for task in keeping:
                task.cancel()
            await asyncio.wait(keeping)
            await self._stop()

    async def _fill(self, place: int) -> None:
        self._workers[place] = await self._start()

    async def _keep(self, place: int) -> None:
        """For ever: wait for the end of the worker in this place, and put another there."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            await self._watched(place)
            if self._clock.monotonic() - began >= STEADY_SECONDS:
                failures = 0
            while place not in self._workers:
                pause_seconds = min(PAUSE_SECONDS * 2**failures, PAUSE_MAX_SECONDS)
                failures = min(failures + 1, 16)
                await self._clock.sleep(pause_seconds)
                try:
                    await self._fill(place)
                except (MediastoreError, OSError) as error:
                    log.error("worker_not_started", detail=str(error))
                else:
                    self.counts.restarts.inc()

    async def _watched(self, place: int) -> None:
        """Returns when the worker in this place has ended; one that says nothing is made to."""
        worker = self._workers[place]
        ended = asyncio.create_task(worker.ended())
        looking = asyncio.create_task(self._keep_looking(place, worker))
        try:
            code = await asyncio.shield(ended)
            log.error("worker_ended", pid=worker.pid, exit_code=code)
        except asyncio.CancelledError:
            ended.cancel()
            raise
        finally:
            looking.cancel()
        del self._workers[place]
        self._forget(place)

    async def _keep_looking(self, place: int, worker: WorkerProcess) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY_SECONDS)
            look = self._look(place)
            done, _ = await asyncio.wait({look}, timeout=HUNG_SECONDS)
            if not done:
                log.error("worker_hangs", pid=worker.pid)
                worker.stop(signal.SIGKILL)
                return

    def _look(self, place: int) -> "asyncio.Task[None]":
        """A look at a worker's metrics, the one under way if there is one."""
        look = self._looks.get(place)
        if look is None or look.done():
            look = self._looks[place] = asyncio.create_task(self._see(place, self._workers[place]))
        return look

    async def _see(self, place: int, worker: WorkerProcess) -> None:
        try:
            seen = await worker.metrics()
        except ChannelClosed:
            return
        if self._workers.get(place) is worker:
            self._merged.saw(place, seen)

    def _forget(self, place: int) -> None:
        look = self._looks.pop(place, None)
        if look is not None:
            look.cancel()
        self._merged.departed(place)

    async def _stop(self) -> None:
        """Tell all of them to stop, and see to it that they do."""
        workers = list(self._workers.values())
        ends = [asyncio.create_task(worker.ended()) for worker in workers]
        try:
            for worker in workers:
                worker.stop()
            if ends:
                _ = await asyncio.wait(ends, timeout=self._stop_max_seconds)
        except asyncio.CancelledError:  # a second signal: they have a moment to cut theirs short
            for worker in workers:
                worker.stop()
            if ends:
                _ = await asyncio.wait(ends, timeout=KILL_MARGIN_SECONDS)
            raise
        finally:
            for worker, end in zip(workers, ends, strict=True):
                if not end.done():
                    log.error("worker_killed", pid=worker.pid, detail="it did not stop in time")
                    worker.stop(signal.SIGKILL)
                    await end
            self._workers.clear()


class SupervisorMetrics:
    """What there is to say about the workers themselves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._workers = Gauge(
            "mediastore_workers", "Worker processes that are running.", registry=registry
        )
        self.restarts = Counter(
            "mediastore_worker_restarts",
            "Workers that took the place of one that had ended.",
            registry=registry,
        )

    def watch_workers(self, running: Callable[[], float]) -> None:
        """Read how many run when metrics are asked for."""
        self._workers.set_function(running)


def _first(error: BaseException) -> BaseException:
    """What ended the start: one error, where several workers met the same."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
