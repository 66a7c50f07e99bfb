"""What a command of the collector works with, opened and closed around it."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from mediastore.catalog.migrations import check_schema
from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.chunkstore.opening import open_chunk_store
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import SystemClock
from mediastore.settings import Settings
from mediastore_gc.collector import Collector
from mediastore_gc.limits import UNLIMITED, WORKERS_MAX, RunBudget, RunLimits
from mediastore_gc.progress import Progress
from mediastore_gc.safety import CollectionDelays

# A batch takes milliseconds; a count over a large table may take minutes.
STATEMENT_TIMEOUT_MIN_SECONDS = 600.0
# Opened when they are needed: one for each worker, and some for what goes on beside them.
POOL_SIZE = WORKERS_MAX + 4


@dataclass(frozen=True, slots=True)
class Room:
    """What a command works with."""

    catalog: Catalog
    store: ChunkStore
    settings: Settings
    registry: CollectorRegistry
    stop: asyncio.Event

    def collector(
        self,
        delays: CollectionDelays,
        *,
        limits: RunLimits = UNLIMITED,
        progress: Progress | None = None,
    ) -> Collector:
        worker = f"{socket.gethostname()}:{os.getpid()}"
        return Collector(
            self.catalog,
            self.store,
            self.settings.collection,
            delays,
            SystemClock(),
            worker=worker,
            stop=self.stop,
            budget=RunBudget(limits, SystemClock()),
            progress=progress,
        )


@asynccontextmanager
async def open_room(settings: Settings) -> AsyncIterator[Room]:
    """Catalog, store and a `stop` that SIGTERM and Ctrl-C set.

    Raises CatalogUnavailable, ChunkStoreUnavailable, SchemaMismatch.
    """
    clock = SystemClock()
    registry = CollectorRegistry()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    timeout = max(settings.catalog.statement_timeout_seconds, STATEMENT_TIMEOUT_MIN_SECONDS)
    patient = settings.catalog.model_copy(
        update={
            "statement_timeout_seconds": timeout,
            "pool_size_min": 0,
            "pool_size_max": POOL_SIZE,
        }
    )
    async with (
        open_catalog(patient, clock) as catalog,
        open_chunk_store(settings.chunk_store, clock, registry) as store,
    ):
        async with catalog.connection() as connection:
            await check_schema(connection)
        yield Room(catalog, store, settings, registry, stop)
