"""Puts the keys of a catalog's garbage into MinIO, fast.

One is put as usual, and its file on disk is copied for all others: MinIO keeps a small object in
one file of its key's folder, and the file does not say which key it belongs to. So a hundred
thousand objects take seconds; whether MinIO believes it, is asked.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from prometheus_client import CollectorRegistry

from bench.gc.world import BUCKET, write_config
from bench.processes import Server
from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.opening import open_chunk_store
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import SystemClock
from mediastore.content.checksum import crc32
from mediastore.settings import load_settings

BODY = b"x" * 64
ASKED_EVERY = 997
_OF_GARBAGE = """
SELECT DISTINCT c.hash, c.generation FROM garbage AS g JOIN manifests AS m ON m.blob = g.blob
CROSS JOIN LATERAL manifest_entries_v1(m.entries) AS e JOIN chunks AS c ON c.hash = e.hash
"""


async def plant_garbage(folder: Path, store: Server, dsn: str, *, prefix: str) -> list[str]:
    """Put all keys that the garbage of the catalog at `dsn` names, below `prefix` in the bucket of
    the MinIO that runs on `folder`; those keys, sorted, with the prefix.
    """
    config = write_config(folder / "planting.toml", dsn, store.url, prefix=prefix)
    keys = await _keys_of_garbage(dsn)
    settings = load_settings(config).chunk_store
    async with open_chunk_store(settings, SystemClock(), CollectorRegistry()) as opened:
        await _plant(opened, folder / "minio" / BUCKET / prefix, keys)
    return [prefix + key for key in keys]


async def _keys_of_garbage(dsn: str) -> list[str]:
    """A few of them will stay, because others name them too."""
    connection = await asyncpg.connect(dsn)
    try:
        return sorted(chunk_key(*row) for row in await connection.fetch(_OF_GARBAGE))
    finally:
        await connection.close()


async def _plant(store: ChunkStore, root: Path, keys: Sequence[str]) -> None:
    await store.put(keys[0], BODY, crc32=crc32(BODY))
    template = (root / keys[0] / "xl.meta").read_bytes()
    for key in keys[1:]:
        path = root / key
        path.mkdir(parents=True)
        (path / "xl.meta").write_bytes(template)
    os.sync()
    for key in keys[::ASKED_EVERY]:
        if await store.get(key) != BODY:
            raise SystemExit("MinIO does not have what was planted")
