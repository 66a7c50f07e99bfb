"""Do queues slow down? The batches of a long drain while dead rows pile up, and how long uploaders
wait while a blob of 1 TB goes.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import asyncpg

from bench.catalog.traffic import EXPIRES_SECONDS, draft_of
from bench.gc.filling import TENANT
from bench.gc.world import DURABLE
from bench.postgres import local_postgres, make_database, opened
from bench.report import machine, table
from mediastore.catalog import collection
from mediastore.catalog.dropping import terminate_upload
from mediastore.catalog.emptying import remove_garbage
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import BatchChunk, create_upload, intend
from mediastore.chunkstore.keys import new_generation
from mediastore.clock import SystemClock
from mediastore.settings import CollectionSettings

BATCH = CollectionSettings().batch_entries
HUGE_CHUNKS = 262_144
CHUNK_BYTES = 4 * 1024 * 1024
UPLOADERS = 4
NAMED_CHUNKS = 8
ALONE_SECONDS = 5
DRAINED_KEYS = 200_000
_HUGE = """
INSERT INTO chunks (hash, generation, size, refs, stored)
SELECT sha256(int8send(n)), (random() * 4e18)::bigint, {size}, 1, true
FROM generate_series(1, {chunks}) AS n;
INSERT INTO blobs (hash, size, refs) VALUES (sha256('huge'), {chunks}::bigint * {size}, 0);
INSERT INTO manifests (blob, entries, chunk_size_min_bytes, chunk_size_average_bytes,
                       chunk_size_max_bytes)
SELECT sha256('huge'),
       string_agg(sha256(int8send(n)) || int8send(n * {size}), ''::bytea ORDER BY n),
       1048576, 4194304, 8388608
FROM generate_series(1::bigint, {chunks}) AS n;
INSERT INTO garbage (blob, since) VALUES (sha256('huge'), now() - interval '30 days');
"""
_DOOMED = """
INSERT INTO doomed (hash, generation, size, since)
SELECT sha256(int8send(n)), n, {size}, now() - interval '30 days' + n * interval '1 second'
FROM generate_series(1::bigint, {keys}) AS n
"""
_RECOUNTED = """
INSERT INTO recounts (incarnation, snapshot, started_at, finished_at)
SELECT incarnation, pg_current_snapshot(), catalog_clock(), catalog_clock() FROM gc_state
"""


@dataclass(frozen=True, slots=True)
class HugeBlob:
    """Seconds: of taking the blob away, of each batch that released its references, and of uploads
    that wanted its chunks, before and meanwhile.
    """

    removal: float
    batches: Sequence[float]
    alone: Sequence[float]
    meanwhile: Sequence[float]


@dataclass(frozen=True, slots=True)
class Drain:
    """Seconds of each batch of a drain, in order."""

    name: str
    batches: Sequence[float]

    def tenth(self, number: int) -> float:
        """The median batch of a tenth of the drain, in ms."""
        share = len(self.batches) // 10
        return 1000 * statistics.median(self.batches[number * share : (number + 1) * share])


async def measure(folder: Path) -> tuple[HugeBlob, list[Drain]]:
    with local_postgres(folder, DURABLE) as postgres:
        async with opened(await make_database(postgres, "huge")) as (catalog, connection):
            huge = await _huge(catalog, connection)
        drains = []
        for name, old_snapshot in (("nothing else", False), ("an old snapshot open", True)):
            dsn = await make_database(postgres, f"drain-{old_snapshot}")
            async with opened(dsn) as (catalog, connection):
                drains.append(Drain(name, await _drain(catalog, connection, old_snapshot)))
    return huge, drains


async def _huge(catalog: Catalog, connection: asyncpg.Connection) -> HugeBlob:
    await connection.execute("INSERT INTO tenants (id) VALUES ($1)", TENANT)
    await connection.execute(_HUGE.format(chunks=HUGE_CHUNKS, size=CHUNK_BYTES))
    await connection.execute("VACUUM ANALYZE")
    names = [row["hash"] for row in await connection.fetch("SELECT hash FROM chunks")]
    alone = await _uploads(catalog, names, asyncio.create_task(asyncio.sleep(ALONE_SECONDS)))
    releasing = asyncio.create_task(_released(catalog))
    meanwhile = await _uploads(catalog, names, releasing)
    removal, batches = await releasing
    return HugeBlob(removal, batches, alone, meanwhile)


async def _released(catalog: Catalog) -> tuple[float, list[float]]:
    began = time.perf_counter()
    await remove_garbage(catalog, BATCH, revive_seconds=0)
    removal = time.perf_counter() - began

    async def release() -> int:
        return (await collection.release_references(catalog, BATCH)).entries

    return removal, await _timed(release)


async def _drain(
    catalog: Catalog, connection: asyncpg.Connection, old_snapshot: bool
) -> list[float]:
    """Claim and forget, as deletions do, until nothing is doomed; no vacuum comes by."""
    await connection.execute("ALTER TABLE doomed SET (autovacuum_enabled = false)")
    await connection.execute(_DOOMED.format(keys=DRAINED_KEYS, size=CHUNK_BYTES))
    await connection.execute(_RECOUNTED)
    await connection.execute("VACUUM ANALYZE doomed")
    state, clock = await collection.collector_state(catalog), SystemClock()
    if old_snapshot:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM doomed")

    async def claim_and_forget() -> int:
        claim = await collection.claim_doomed(
            catalog,
            state.incarnation,
            marker_counter=0,
            host_time=clock.now(),
            skew_max_seconds=300,
            window_seconds=0,
            limit=BATCH,
            claim_timeout_seconds=900,
        )
        return await collection.forget_doomed(catalog, claim.keys)

    return await _timed(claim_and_forget)


async def _timed(batch: Callable[[], Awaitable[int]]) -> list[float]:
    """Seconds of each batch, until one has nothing to do."""
    seconds = []
    while True:
        began = time.perf_counter()
        if await batch() == 0:
            return seconds
        seconds.append(time.perf_counter() - began)


async def _uploads(
    catalog: Catalog, names: Sequence[bytes], until: "asyncio.Task[object]"
) -> list[float]:
    """Seconds of intents that name random chunks of the blob; each upload is given up again."""
    seconds: list[float] = []

    async def uploader(number: int) -> None:
        chance = Random(number)
        while not until.done():
            upload = await create_upload(
                catalog, draft_of(NAMED_CHUNKS * CHUNK_BYTES), expires_seconds=EXPIRES_SECONDS
            )
            batch = [
                BatchChunk(hash_, CHUNK_BYTES, new_generation())
                for hash_ in chance.sample(names, NAMED_CHUNKS)
            ]
            began = time.perf_counter()
            await intend(catalog, upload, batch, expires_seconds=EXPIRES_SECONDS)
            seconds.append(time.perf_counter() - began)
            await terminate_upload(catalog, TENANT, upload.id)

    await asyncio.gather(*(uploader(number) for number in range(UPLOADERS)))
    return seconds


def section(huge: HugeBlob, drains: Sequence[Drain], command: str) -> str:
    ms = [
        (f"intents alone ({len(huge.alone):,})", huge.alone),
        (f"intents meanwhile ({len(huge.meanwhile):,})", huge.meanwhile),
        (f"releasing batches ({len(huge.batches):,})", huge.batches),
    ]
    rows = [
        [name, f"{1000 * statistics.median(found):.1f}", f"{1000 * max(found):.1f}"]
        for name, found in ms
    ]
    drained = [
        [drain.name, *(f"{drain.tenth(number):.1f}" for number in (0, 4, 9))] for drain in drains
    ]
    return "\n\n".join(
        [
            "## Long queues",
            f"Made by `{command}` on {machine()}. {_HUGE_TEXT}",
            table(("ms", "median", "longest"), rows),
            (
                f"Removing the blob itself, manifest and all, took {1000 * huge.removal:.0f} ms; "
                "by design, who uploads the same file may wait for that (not measured)."
            ),
            _DRAIN_TEXT,
            table(("ms, beside", "first tenth", "fifth tenth", "last tenth"), drained),
        ]
    )


_HUGE_TEXT = (
    f"A blob of 1 TB ({HUGE_CHUNKS:,} rows of chunks, no bytes) goes while {UPLOADERS} uploaders "
    f"name {NAMED_CHUNKS} of its chunks in each intent, without a pause. To reach: no intent takes "
    f"longer than the longest batch of {BATCH:,} references. Milliseconds."
)
_DRAIN_TEXT = (
    f"{DRAINED_KEYS:,} doomed keys claimed and forgotten by batches of 1,000 with no vacuum in "
    "between, so that dead rows pile up where the next key is looked for: the median batch. A "
    "snapshot is old when it was open before the drain began, as that of a dump or of `verify` is."
)
