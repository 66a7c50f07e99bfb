"""Chunks from the disk where they are there, else from the store; what the store gave is kept.

Writing waits for nobody and nobody for it: it goes on behind the answer, with memory that is free,
and what finds none is not written. A disk that fails or hangs costs its chunks and no answer.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from mediastore.catalog.reading import ChunkPlace
from mediastore.clock import Clock
from mediastore.delivery.chunks import Arrived, Fetch
from mediastore.delivery.disk_folder import DamagedFile, DiskFolder
from mediastore.memory import MemoryBudget
from mediastore.settings import MIB

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
THREADS_MAX: Final = 4
SWEEP_EVERY_SECONDS: Final = 3600.0
READ_MAX_SECONDS: Final = 2.0  # then the store is asked
WRITING_MAX_BYTES: Final = 32 * MIB


class DiskCacheMetrics:
    """Counts what comes of the disk; registered beside the service's own metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        reads = Counter(
            "mediastore_disk_cache_reads",
            "Chunks asked of the disk cache: hit, miss, damaged, or failed (the disk).",
            ["outcome"],
            registry=registry,
        )
        self.hits, self.misses = reads.labels("hit"), reads.labels("miss")
        self.damaged, self.failed = reads.labels("damaged"), reads.labels("failed")
        writes = Counter(
            "mediastore_disk_cache_writes",
            "Chunks that were to be kept on disk: written, skipped (no memory, no room, or there "
            "already), or failed.",
            ["outcome"],
            registry=registry,
        )
        self.written, self.skipped = writes.labels("written"), writes.labels("skipped")
        self.not_written = writes.labels("failed")
        self.held_bytes = Gauge(
            "mediastore_disk_cache_bytes",
            "What the folder of the disk cache took when it was last counted, of all processes.",
            registry=registry,
        )


class DiskCache:
    """The disk cache of this process; others may use the same folder."""

    def __init__(
        self,
        fetch: Fetch,
        folder: DiskFolder,
        memory: MemoryBudget,
        clock: Clock,
        metrics: DiskCacheMetrics,
    ) -> None:
        self._fetch = fetch
        self._folder = folder
        self._memory = memory
        self._clock = clock
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="disk-cache")
        self._writing: set[asyncio.Task[None]] = set()
        self._writing_bytes = 0

    async def get(self, place: ChunkPlace, arrived: Arrived) -> bytes:
        """The chunk's bytes, verified. Raises what the store raises."""
        data = await self._read(place)
        if data is None:
            data = await self._fetch(place, arrived)
            self._keep(place.hash, data)
        return data

    async def sweep(self) -> None:
        """For ever: see to it that the folder keeps to its limits; until cancelled."""
        while True:
            try:
                self._metrics.held_bytes.set(await self._run(self._folder.sweep))
            except OSError as error:
                log.warning("disk_cache_not_swept", detail=str(error))
            await self._clock.sleep(SWEEP_EVERY_SECONDS)

    async def close(self) -> None:
        """Wait for what is being written; to be called when nobody reads any more."""
        if self._writing:
            await asyncio.wait(self._writing)
        self._threads.shutdown(wait=True)
        self._folder.close()

    async def _read(self, place: ChunkPlace) -> bytes | None:
        try:
            async with asyncio.timeout(READ_MAX_SECONDS):
                data = await self._run(self._folder.read, place.hash, place.size)
        except DamagedFile:
            self._metrics.damaged.inc()
            log.warning("disk_cache_damaged", hash=place.hash.hex())
            return None
        except OSError as error:  # TimeoutError is one
            self._metrics.failed.inc()
            log.warning("disk_cache_not_read", detail=str(error) or type(error).__name__)
            return None
        (self._metrics.misses if data is None else self._metrics.hits).inc()
        return data

    def _keep(self, hash_: bytes, data: bytes) -> None:
        busy = self._writing_bytes + len(data) > WRITING_MAX_BYTES
        if busy or not self._memory.try_acquire(len(data)):
            self._metrics.skipped.inc()
            return
        self._writing_bytes += len(data)
        task = asyncio.create_task(self._write(hash_, data))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, hash_: bytes, data: bytes) -> None:
        try:
            written = await self._run(self._folder.write, hash_, data)
            (self._metrics.written if written else self._metrics.skipped).inc()
        except OSError as error:
            self._metrics.not_written.inc()
            log.warning("disk_cache_not_written", detail=str(error))
        finally:
            self._writing_bytes -= len(data)
            self._memory.release(len(data))

    async def _run(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
