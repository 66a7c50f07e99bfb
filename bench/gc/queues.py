"""Queues that do not slow down: batches of a long drain while dead rows pile up, and uploaders that
wait for one batch at most while a blob of 1 TB goes.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.catalog.traffic import EXPIRES_SECONDS, draft_of
from bench.gc.world import DURABLE
from bench.postgres import local_postgres, make_database, opened
from mediastore.catalog import collection
from mediastore.catalog.dropping import terminate_upload
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import BatchChunk, create_upload, intend
from mediastore.chunkstore.keys import new_generation

TENANT = "bench"
BATCH = 1000
HUGE_CHUNKS = 262_144
CHUNK_BYTES = 4 * 1024 * 1024
UPLOADERS = 4
NAMED_CHUNKS = 8
_HUGE = """
INSERT INTO chunks (hash, generation, size, refs, stored)
SELECT sha256(int8send(n)), (random() * 4e18)::bigint, {size}, 1, true FROM generate_series(1, {chunks}) AS n;
INSERT INTO blobs (hash, size, refs) VALUES (sha256('huge'), {chunks}::bigint * {size}, 0);
INSERT INTO manifests (blob, entries, chunk_size_min_bytes, chunk_size_average_bytes, chunk_size_max_bytes)
SELECT sha256('huge'), string_agg(sha256(int8send(n)) || int8send(n * {size}), ''::bytea ORDER BY n),
       1048576, 4194304, 8388608 FROM generate_series(1::bigint, {chunks}) AS n;
INSERT INTO garbage (blob, since) VALUES (sha256('huge'), now() - interval '30 days');
"""
_DOOMED = """
INSERT INTO doomed (hash, generation, size, since)
SELECT sha256(int8send(n)), n, {size}, now() - interval '30 days' + n * interval '1 second'
FROM generate_series(1::bigint, {keys}) AS n;
"""
_RECOUNTED = """
INSERT INTO recounts (incarnation, snapshot, started_at, finished_at)
SELECT incarnation, pg_current_snapshot(), catalog_clock(), catalog_clock() FROM gc_state
"""


@dataclass(frozen=True, slots=True)
class Drain:
    """Seconds of each batch of a drain, in order."""

    name: str
    batches: Sequence[float]

    def part(self, first: float, last: float) -> float:
        """The median batch of a part of the drain, in ms."""
        count = len(self.batches)
        return 1000 * statistics.median(self.batches[int(first * count) : int(last * count)])


@dataclass(frozen=True, slots=True)
class HugeBlob:
    """Seconds of each batch that took a blob away, and of uploads that wanted its chunks."""

    removal: float
    batches: Sequence[float]
    uploads: Sequence[float]
    alone: Sequence[float]


async def measure_huge(folder: Path, chunks: int = HUGE_CHUNKS) -> HugeBlob:
    """Uploaders name chunks of the blob all the while that its references are released."""
    with local_postgres(folder, DURABLE) as postgres:
        dsn = await make_database(postgres, "huge")
        async with opened(dsn) as (catalog, connection):
            await connection.execute("INSERT INTO tenants (id) VALUES ($1)", TENANT)
            await connection.execute(_HUGE.format(chunks=chunks, size=CHUNK_BYTES), timeout=None)
            await connection.execute("VACUUM ANALYZE")
            names = [row["hash"] for row in await connection.fetch("SELECT hash FROM chunks")]
            alone = await _uploads(catalog, names, asyncio.create_task(asyncio.sleep(5)))
            releasing = asyncio.create_task(_released(catalog))
            uploads = await _uploads(catalog, names, releasing)
            removal, batches = await releasing
    return HugeBlob(removal, batches, uploads, alone)


async def _released(catalog: Catalog) -> tuple[float, list[float]]:
    began = time.perf_counter()
    await collection.remove_garbage(catalog, BATCH, revive_seconds=0)
    removal = time.perf_counter() - began
    return removal, await _timed(
        lambda: collection.release_references(catalog, BATCH), lambda released: released.entries
    )


async def _timed(batch: Callable[[], Awaitable[object]], count: Callable[..., int]) -> list[float]:
    seconds = []
    while True:
        began = time.perf_counter()
        if count(await batch()) == 0:
            return seconds
        seconds.append(time.perf_counter() - began)


async def _uploads(
    catalog: Catalog, names: Sequence[bytes], until: "asyncio.Task[object]"
) -> list[float]:
    """Seconds that intents take which name random chunks of the blob; given up right after."""
    seconds: list[float] = []

    async def uploader() -> None:
        while not until.done():
            upload = await create_upload(
                catalog, draft_of(CHUNK_BYTES), expires_seconds=EXPIRES_SECONDS
            )
            batch = [
                BatchChunk(
                    names[int.from_bytes(os.urandom(4)) % len(names)], CHUNK_BYTES, new_generation()
                )
                for _ in range(NAMED_CHUNKS)
            ]
            began = time.perf_counter()
            await intend(catalog, upload, batch, expires_seconds=EXPIRES_SECONDS)
            seconds.append(time.perf_counter() - began)
            await terminate_upload(catalog, TENANT, upload.id)

    await asyncio.gather(*(uploader() for _ in range(UPLOADERS)))
    return seconds
