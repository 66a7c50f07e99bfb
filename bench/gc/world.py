"""The database and the store that a collector is measured on.

Filling a large catalog takes longer than measuring it, so it is filled once, in a folder that is
kept, and each measurement works on a copy. The database that is filled forgets what it wrote when
the machine fails; the one that is measured is durable.
"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from bench.gc.filling import Shape, fill
from bench.postgres import local_postgres, make_database
from bench.processes import ACCESS_KEY, SECRET_KEY
from mediastore.local.postgres import LocalPostgres

FILLED, COPY = "filled", "measured"
BUCKET = "mediastore"
FORGETFUL = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "16GB",
    "shared_buffers": "2GB",
    "maintenance_work_mem": "512MB",
    "autovacuum": "off",
}
# A small server's: everything else is Postgres's default, and durable.
DURABLE = {"shared_buffers": "1GB", "max_wal_size": "4GB"}


async def fill_folder(folder: Path, shape: Shape) -> float:
    """Make a kept catalog; the seconds it took."""
    folder.mkdir(parents=True)
    began = time.perf_counter()
    with local_postgres(folder, FORGETFUL) as postgres:
        await fill(await make_database(postgres, FILLED), shape)
    os.sync()
    return time.perf_counter() - began


@contextmanager
def kept_postgres(folder: Path) -> Iterator[LocalPostgres]:
    """A kept catalog's server, durable."""
    with local_postgres(folder, DURABLE) as postgres:
        yield postgres


@asynccontextmanager
async def copied(postgres: LocalPostgres, name: str = COPY) -> AsyncIterator[str]:
    """A copy of the filled catalog, on disk; its URI. Gone behind the block."""
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.execute(
            f'CREATE DATABASE "{name}" TEMPLATE "{FILLED}" STRATEGY file_copy', timeout=None
        )
        await connection.execute("CHECKPOINT", timeout=None)
        os.sync()
        yield postgres.dsn(name)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


def write_config(
    path: Path, dsn: str, s3_url: str, *, prefix: str = "", collection: str = ""
) -> Path:
    """Settings for a collector that may delete everything at once; `collection` are more lines."""
    path.write_text(
        f"""\
[catalog]
dsn = "{dsn}"
[chunk_store]
driver = "s3"
bucket = "{BUCKET}"
prefix = "{prefix}"
endpoint_url = "{s3_url}"
path_style = true
access_key_id = "{ACCESS_KEY}"
secret_access_key = "{SECRET_KEY}"
[collection]
delete_share_max = 1.0
{collection}[log]
level = "warning"
"""
    )
    return path
