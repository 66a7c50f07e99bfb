"""Builds the chunk store that the settings describe, wrappers and all.

The order, outermost first, and why:
- measured: sees what callers see: the wait for a place, the retries, the final outcome.
- limited: a call keeps its place while it pauses between tries. A store in trouble is thereby asked
  less, instead of fresh calls taking the places of those that back off; and a retry never has to
  queue again behind calls that came later, or is turned away as overload after work was done.
- retrying: next to the driver, one attempt at a time.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from mediastore.chunkstore.directory import open_directory
from mediastore.chunkstore.limited import LimitedChunkStore
from mediastore.chunkstore.measured import ChunkStoreMetrics, MeasuredChunkStore
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.chunkstore.retrying import RetryingChunkStore, RetryPolicy
from mediastore.chunkstore.s3 import S3ChunkStore
from mediastore.clock import Clock
from mediastore.settings import ChunkStoreSettings

DIRECTORY_THREADS_MAX = 16  # more does not make a disk faster


@asynccontextmanager
async def open_chunk_store(
    settings: ChunkStoreSettings, clock: Clock, registry: CollectorRegistry
) -> AsyncIterator[ChunkStore]:
    """The chunk store; closed at exit. Registers its metrics in `registry`, so once for each.

    Raises ChunkStoreUnavailable when a directory cannot be made or used; S3 is asked at first use.
    """
    driver = await _open_driver(settings, clock)
    try:
        metrics = ChunkStoreMetrics(registry)
        policy = RetryPolicy(
            attempts_max=settings.attempts_max,
            delay_seconds=settings.retry_delay_seconds,
            delay_max_seconds=settings.retry_delay_max_seconds,
        )
        retrying = RetryingChunkStore(
            driver,
            policy=policy,
            clock=clock,
            jitter=random.Random(),  # noqa: S311  (spreads load, keeps no secret)
            on_retry=metrics.count_retry,
        )
        limited = LimitedChunkStore(
            retrying,
            concurrency_max=settings.concurrency_max,
            waiting_max=settings.waiting_max,
        )
        yield MeasuredChunkStore(limited, metrics=metrics, clock=clock)
    finally:
        await driver.close()


async def _open_driver(settings: ChunkStoreSettings, clock: Clock) -> ChunkStore:
    match settings.driver:
        case "memory":
            return MemoryChunkStore()
        case "s3":
            return S3ChunkStore(settings, clock)
        case "directory":
            threads_max = min(settings.concurrency_max, DIRECTORY_THREADS_MAX)
            return await open_directory(settings.directory, clock, threads_max=threads_max)
