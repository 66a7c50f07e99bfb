"""`python -m bench.catalog`: room for each TB stored, WAL for each upload, HOT updates of chunks.

Writes its section of docs/performance.md.
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

import asyncpg

from bench.catalog.filling import Content, Room, fill, rooms
from bench.catalog.section import Figures, Wal, section
from bench.catalog.traffic import (
    BATCH_CHUNKS,
    LARGE_BATCHES,
    Updates,
    large,
    mix,
    small,
    updates,
    wal_bytes,
)
from bench.postgres import local_postgres, make_database, opened
from bench.processes import end_on_sigterm
from bench.report import write_section
from mediastore.local.postgres import LocalPostgres

FILLFACTORS = (70, 80, 90, 95, 100)
PHOTO_BYTES = 1_000_000
LARGE_CHUNK_BYTES = 4_750_000  # the mean size of a chunk at the default average of 4 MiB
LARGE_CHUNKS = 220  # of a file of about a gigabyte
WAL_UPLOADS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blobs", type=int, default=100_000, help="photos that the catalog holds")
    parser.add_argument("--uploads", type=int, default=800, help="large uploads of each mix")
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="bench-catalog-") as folder:
        with local_postgres(Path(folder)) as postgres:
            body = asyncio.run(_section(postgres, options.blobs, options.uploads))
    print(body)
    if not options.dry:
        write_section("catalog", body)


async def _section(postgres: LocalPostgres, blobs: int, uploads: int) -> str:
    photos = Content("1 MB photos", "image/jpeg", blobs, 1, PHOTO_BYTES)
    files = Content(
        "1 GB files", "video/mp4", max(1, blobs // LARGE_CHUNKS), LARGE_CHUNKS, LARGE_CHUNK_BYTES
    )
    room = {content.name: await _room(postgres, content) for content in (photos, files)}
    wal = {
        "long after a checkpoint": await _wal(postgres, photos, images=False),
        "first touch after a checkpoint": await _wal(postgres, photos, images=True),
    }
    changes = {factor: await _updates(postgres, photos, factor, uploads) for factor in FILLFACTORS}
    return section(Figures(blobs, uploads, room, wal, changes))


async def _room(postgres: LocalPostgres, content: Content) -> list[Room]:
    dsn = await make_database(postgres, content.content_type)
    async with opened(dsn) as (_, connection):
        await fill(connection, content)
        return await rooms(connection, content)


async def _wal(postgres: LocalPostgres, content: Content, *, images: bool) -> Wal:
    """`images`: right after a checkpoint, when the first change of a page writes all of it."""
    async with opened(postgres.dsn(content.content_type)) as (catalog, connection):
        known = await _hashes(connection, "blobs", WAL_UPLOADS * 2)
        found = []
        for upload in (
            lambda: small(catalog, os.urandom(32)),
            lambda: small(catalog, known.pop()),
            lambda: large(catalog, _new_batches()),
        ):
            await _full_page_images(connection, on=images)
            await connection.execute("CHECKPOINT")
            found.append(await wal_bytes(connection, upload, count=WAL_UPLOADS // 2))
        await _full_page_images(connection, on=True)
        return Wal(found[0], found[1], found[2] / (BATCH_CHUNKS * LARGE_BATCHES))


async def _full_page_images(connection: asyncpg.Connection, *, on: bool) -> None:
    await connection.execute(f"ALTER SYSTEM SET full_page_writes = {'on' if on else 'off'}")
    await connection.execute("SELECT pg_reload_conf()")


def _new_batches() -> list[list[bytes]]:
    return [[os.urandom(32) for _ in range(BATCH_CHUNKS)] for _ in range(LARGE_BATCHES)]


async def _updates(postgres: LocalPostgres, content: Content, factor: int, uploads: int) -> Updates:
    dsn = await make_database(postgres, f"fillfactor-{factor}")
    async with opened(dsn) as (_, connection):
        await connection.execute(f"ALTER TABLE chunks SET (fillfactor = {factor})")
        await fill(connection, content)
        known = await _hashes(connection, "chunks", 10_000)
    async with opened(dsn) as (catalog, connection):
        await mix(catalog, connection, known, count=uploads)
    async with opened(dsn) as (_, connection):
        return await updates(connection)


async def _hashes(connection: asyncpg.Connection, source: str, count: int) -> list[bytes]:
    rows = await connection.fetch(
        f"SELECT hash FROM {source} WHERE size = {PHOTO_BYTES} ORDER BY hash LIMIT {count}"
    )
    return [row["hash"] for row in rows]


if __name__ == "__main__":
    main()
