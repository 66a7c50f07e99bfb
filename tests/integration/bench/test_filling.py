"""What measurements fill a catalog with is a catalog: every count of it is exact."""

import asyncio
from typing import Any

import asyncpg
from mediastore_gc.collector import Collector
from mediastore_gc.safety import CollectionDelays

from bench.gc.filling import GROUP_CHUNKS, GROUP_GARBAGE_CHUNKS, Shape, fill
from mediastore.catalog.pool import open_catalog
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.clock import SystemClock
from mediastore.settings import CatalogSettings, CollectionSettings
from tests.counts_exact import assert_counts_exact
from tests.recount_exact import assert_references_exact

SHAPE = Shape(live_chunks=2_500, garbage_chunks=1_000)
AT_ONCE = CollectionDelays(0, 0, 0, 300, unsafe=True)
DANGLING = """
SELECT (SELECT count(*) FROM objects WHERE blob NOT IN (SELECT hash FROM blobs))
     + (SELECT count(*) FROM garbage WHERE blob NOT IN (SELECT hash FROM blobs))
     + (SELECT count(*) FROM upload_chunks WHERE upload NOT IN (SELECT id FROM uploads))
"""


async def test_every_count_is_exact(dsn: str, connection: "asyncpg.Connection[Any]") -> None:
    await fill(dsn, SHAPE)
    await assert_references_exact(connection)
    await assert_counts_exact(connection)
    assert await connection.fetchval(DANGLING) == 0


async def test_has_what_was_asked_for(dsn: str, connection: "asyncpg.Connection[Any]") -> None:
    await fill(dsn, SHAPE)
    uploading = await connection.fetchval("SELECT count(*) FROM upload_chunks")
    chunks = await connection.fetchval("SELECT count(*) FROM chunks")
    assert uploading > 0
    assert chunks - uploading == SHAPE.groups * GROUP_CHUNKS
    assert chunks >= SHAPE.live_chunks + SHAPE.garbage_chunks
    assert await connection.fetchval("SELECT count(*) FROM chunks WHERE refs = 2") == (
        SHAPE.groups * (GROUP_CHUNKS - GROUP_GARBAGE_CHUNKS)
    )
    garbage = await connection.fetchval("SELECT count(*) FROM garbage")
    assert garbage == SHAPE.garbage_groups * 100


async def test_its_garbage_can_be_collected(
    dsn: str, connection: "asyncpg.Connection[Any]"
) -> None:
    await fill(dsn, SHAPE)
    clock, settings = SystemClock(), CollectionSettings(delete_share_max=1)
    async with open_catalog(CatalogSettings.model_validate({"dsn": dsn}), clock) as catalog:
        collector = Collector(
            catalog,
            MemoryChunkStore(),
            settings,
            AT_ONCE,
            clock,
            worker="test",
            stop=asyncio.Event(),
        )
        done = await collector.execute(await collector.plan())
    assert done.removed_blobs == SHAPE.garbage_groups * 100
    assert done.deleted_keys >= SHAPE.garbage_chunks
    assert done.kept_keys == done.quarantined == 0
    await assert_references_exact(connection)
    await assert_counts_exact(connection)
