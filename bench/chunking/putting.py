"""PUT throughput of the service's S3 driver into a MinIO of its own, by chunk size."""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from bench.chunking.cutting import Layout, cut_as_served
from bench.processes import ACCESS_KEY, SECRET_KEY, minio
from mediastore.chunkstore.keys import chunk_key, new_generation
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.chunkstore.s3 import S3ChunkStore
from mediastore.clock import SystemClock
from mediastore.content.hashing import name_chunk
from mediastore.settings import ChunkStoreSettings

PUTS_AT_ONCE = 4
ROUNDS = 5
BUCKET = "bench"


async def put_rates(
    content: bytes, layouts: Sequence[Layout], *, delay_seconds: float
) -> list[float]:
    """Bytes a second for each layout, 4 PUTs at once: medians of rounds in shuffled order.

    `delay_seconds` is slept before each PUT in its place of the four: the wait of a store farther
    off.
    """
    cuts = {layout: list(cut_as_served(layout)(content)) for layout in layouts}
    rates: dict[Layout, list[float]] = {layout: [] for layout in layouts}
    order = random.Random(0)
    with (
        tempfile.TemporaryDirectory(prefix="bench-chunking-") as folder,
        minio(Path(folder), [BUCKET]) as server,
    ):
        store = S3ChunkStore(_settings(server.url), SystemClock())
        try:
            await _put_all(store, cuts[layouts[0]], 0)  # connections and caches, not counted
            for _ in range(ROUNDS):
                for layout in order.sample(layouts, len(layouts)):
                    begun = time.perf_counter()
                    await _put_all(store, cuts[layout], delay_seconds)
                    rates[layout].append(len(content) / (time.perf_counter() - begun))
        finally:
            await store.close()
    return [statistics.median(rates[layout]) for layout in layouts]


async def _put_all(store: ChunkStore, chunks: Sequence[bytes], delay_seconds: float) -> None:
    pending = iter(chunks)

    async def work() -> None:
        for chunk in pending:
            name = name_chunk(chunk)
            await asyncio.sleep(delay_seconds)
            await store.put(chunk_key(name.hash, new_generation()), chunk, crc32=name.crc32)

    async with asyncio.TaskGroup() as group:
        for _ in range(PUTS_AT_ONCE):
            group.create_task(work())


def _settings(endpoint_url: str) -> ChunkStoreSettings:
    return ChunkStoreSettings(
        driver="s3",
        bucket=BUCKET,
        endpoint_url=endpoint_url,
        access_key_id=ACCESS_KEY,
        secret_access_key=SecretStr(SECRET_KEY),
        path_style=True,
    )
