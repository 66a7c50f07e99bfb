"""Worker processes, kept alive and killed: one picture at a time each, within time and memory.

A worker that dies, hangs or talks nonsense is gone for good and the next job gets a new one. What a
picture does to its worker is told as ImageTooCostly: it would do the same to the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from mediastore.clock import Clock
from mediastore.errors import ShuttingDown, Unavailable
from mediastore.image_errors import ImageRefused, ImageTooCostly
from mediastore.images.fair_queue import FairQueue
from mediastore.images.image_metrics import ImageMetrics
from mediastore.images.worker_process import (
    Job,
    Made,
    ProbeJob,
    Source,
    WorkerDied,
    WorkerProcess,
    cause,
)
from mediastore.settings import ImagesSettings

log = structlog.get_logger(__name__)

START_SECONDS_MAX = 30.0
Answer = TypeVar("Answer")


class WorkerPool:
    """The worker processes of this service."""

    def __init__(self, settings: ImagesSettings, clock: Clock, metrics: ImageMetrics) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._closed = False
        self.queue = FairQueue(
            places=settings.workers,
            waiting_max=settings.waiting_max,
            tenant_share=settings.waiting_share,
            background_places=max(1, settings.workers // 2),
        )
        metrics.watch_waiting(lambda: self.queue.waiting)

    async def make(self, job: Job, source: Source) -> Made:
        """Have a picture made. The caller holds a place in `queue`.

        Raises ImageRefused and its kinds, Unavailable, ShuttingDown, and what `source` raises.
        """
        return await self._work(lambda worker: worker.work(job, source))

    async def probe(self, job: ProbeJob, source: Source) -> dict[str, Any] | None:
        """Have a picture looked at: what is found, as JSON; None: it is no picture. As `make`."""
        return await self._work(lambda worker: worker.probe(job, source))

    async def _work(self, work: Callable[[WorkerProcess], Awaitable[Answer]]) -> Answer:
        if self._closed:
            raise ShuttingDown
        worker = await self._worker()
        self._busy.add(worker)
        began = self._clock.monotonic()
        fit = False
        try:
            async with asyncio.timeout(self._settings.wall_seconds):
                answer = await work(worker)
            fit = True
            return answer
        except ImageRefused:
            fit = True
            raise
        except TimeoutError:
            if worker.is_fed:
                self._lost(worker, "it took longer than one picture may take")
                raise ImageTooCostly("it took longer than one picture may take") from None
            self._lost(worker, "the source was not read in time")
            raise Unavailable("the picture's source was not read in time") from None
        except WorkerDied as died:
            if self._closed:
                raise ShuttingDown from None
            self._lost(worker, cause(died))
            raise ImageTooCostly(f"this picture cannot be made: {cause(died)}") from None
        finally:
            self._metrics.seconds.observe(self._clock.monotonic() - began)
            self._metrics.saw_peak(worker.peak_bytes)
            self._busy.discard(worker)
            if fit and worker.jobs < self._settings.worker_jobs_max and not self._closed:
                self._idle.append(worker)
            else:
                await worker.kill()

    async def close(self) -> None:
        """End every process; what they were at is told ShuttingDown."""
        self._closed = True
        workers = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*(worker.kill() for worker in workers))

    @property
    def pids(self) -> list[int]:
        """Of the processes that live."""
        return [worker.pid for worker in (*self._idle, *self._busy)]

    async def _worker(self) -> WorkerProcess:
        while self._idle:
            worker = self._idle.pop()  # the one whose memory is warm
            if worker.is_alive:
                return worker
            await worker.kill()
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                return await WorkerProcess.start(self._settings)
        except (WorkerDied, OSError, TimeoutError) as error:
            log.error("image_worker_not_started", why=str(error) or type(error).__name__)
            raise Unavailable("no worker for pictures can be started") from None

    def _lost(self, worker: WorkerProcess, why: str) -> None:
        self._metrics.workers_killed.inc()
        log.warning("image_worker_lost", pid=worker.pid, why=why, jobs=worker.jobs)
