"""Does Postgres stay healthy? A day of uploads and deletes, collected as it goes, at speed.

The requests are made in the database, by the functions that the service calls; the collector is the
product's, one run after the other. Autovacuum has the tables to itself as it comes by, as ever, but
for how often: days pass faster here, so it looks once a second.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import asyncpg

from bench.gc.collecting import Job, Result, collected
from bench.gc.filling import Shape
from bench.gc.world import DURABLE, FILLED, fill_folder
from bench.postgres import local_postgres
from bench.report import machine, table
from mediastore.settings import MIB

LIVE_CHUNKS = 300_000
HOURS = 24
UPLOADS_PER_SECOND = 10
READS_PER_UPLOAD = 8  # which change no row, and are not made
HOUR_UPLOADS = UPLOADS_PER_SECOND * 3600
SESSIONS = 2
WORKERS = 2
QUARTER = HOURS // 4
SHOWN_HOURS = (1, 6, 12, 18, 24)
TABLES = (
    "chunks",
    "blobs",
    "manifests",
    "objects",
    "uploads",
    "upload_chunks",
    "garbage",
    "unlinking",
    "doomed",
    "tombstones",
    "purged_objects",
    "stage_changes",
)
QUICK = {"autovacuum_naptime": "1s"}
_SQL = files(__package__).joinpath("churn.sql")
_SEEN = """
SELECT s.relname, pg_total_relation_size(s.relid) AS bytes, s.n_live_tup, s.n_dead_tup,
       s.autovacuum_count
FROM pg_stat_user_tables AS s WHERE s.relname = ANY ($1)
"""
_SPACE = (
    "SELECT dead_tuple_percent, approx_free_percent FROM pgstattuple_approx($1::text::regclass)"
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table at the end of an hour; `bytes` with its indexes and TOAST."""

    bytes: int
    live: int
    dead: int
    autovacuums: int


@dataclass(frozen=True, slots=True)
class Hour:
    """What an hour's requests took, its run of the collector, and the tables behind both."""

    seconds: float
    collection: Result
    tables: dict[str, Table]


@dataclass(frozen=True, slots=True)
class Day:
    """`hours` from the first that deletes as much as it uploads; and of each table at the end, the
    shares in percent that are dead and that are free for new rows.
    """

    hours: Sequence[Hour]
    space: dict[str, tuple[float, float]]


async def measure(folder: Path) -> Day:
    await fill_folder(folder / "catalog", Shape(LIVE_CHUNKS))
    with local_postgres(folder / "catalog", DURABLE | QUICK) as postgres:
        dsn = postgres.dsn(FILLED)
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("CREATE EXTENSION pgstattuple")
            await prepare(connection)
            config = _config(folder, dsn)
            await _requests(dsn, 0)
            hours = [await _hour(connection, dsn, config, number + 1) for number in range(HOURS)]
            space = {name: tuple(await connection.fetchrow(_SPACE, name)) for name in TABLES}
        finally:
            await connection.close()
    return Day(hours, space)


async def prepare(connection: asyncpg.Connection) -> None:
    """Make a filled catalog one that churns; what is deleted in it may go at once."""
    await connection.execute(_SQL.read_text(encoding="utf-8"))
    await connection.execute("UPDATE tenants SET trash_seconds = 0")


async def _hour(connection: asyncpg.Connection, dsn: str, config: Path, number: int) -> Hour:
    """Its requests, and beside them one run of the collector, which takes what is in the trash."""
    collecting = asyncio.create_task(collected(config, Job(workers=WORKERS)))
    began = time.perf_counter()
    await _requests(dsn, number)
    seconds = time.perf_counter() - began
    collection = await collecting
    rows = await connection.fetch(_SEEN, TABLES)
    return Hour(seconds, collection, {name: Table(*seen) for name, *seen in rows})


async def _requests(dsn: str, hour: int) -> None:
    """An hour's uploads, and as many objects of the hour before into the trash."""
    await asyncio.gather(*(_session(dsn, hour, number) for number in range(SESSIONS)))


async def _session(dsn: str, hour: int, number: int) -> None:
    first = (hour + 1) * HOUR_UPLOADS
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET synchronous_commit = off")  # at speed: not what is looked at
        await connection.execute(
            f"CALL churn({number}, {SESSIONS}, {first}, {first + HOUR_UPLOADS - 1}, {HOUR_UPLOADS})"
        )
    finally:
        await connection.close()


def _config(folder: Path, dsn: str) -> Path:
    """A store that has none of the keys, which deleting takes as done."""
    path = folder / "gc.toml"
    path.write_text(
        f"""\
[catalog]
dsn = "{dsn}"
[chunk_store]
driver = "directory"
directory = "{folder / "chunks"}"
[collection]
delete_share_max = 1.0
[log]
level = "warning"
"""
    )
    return path


def section(day: Day, command: str) -> str:
    first, last = day.hours[0], day.hours[-1]
    rows = [
        [
            name,
            f"{last.tables[name].live:,}",
            *(f"{day.hours[hour - 1].tables[name].bytes / MIB:,.1f}" for hour in SHOWN_HOURS),
            f"{max(hour.tables[name].dead for hour in day.hours):,}",
            f"{last.tables[name].autovacuums - first.tables[name].autovacuums:,}",
            *(f"{share:.1f}" for share in day.space[name]),
        ]
        for name in TABLES
    ]
    return "\n\n".join(
        [
            "## A day of churn",
            f"Made by `{command}` on {machine()}. {_TEXT}",
            table(_HEAD, rows),
            (
                f"An hour's requests took {_requests_of(day.hours[:QUARTER]):.0f} s in the first "
                f"{QUARTER} hours and {_requests_of(day.hours[-QUARTER:]):.0f} s in the last "
                f"{QUARTER} (medians); collecting 1,000 keys beside them, from trash to no row and "
                f"without the recount, {_batch_of(day.hours[:QUARTER]):.0f} ms and "
                f"{_batch_of(day.hours[-QUARTER:]):.0f} ms."
            ),
        ]
    )


_TEXT = (
    f"{HOURS} hours of {UPLOADS_PER_SECOND * (READS_PER_UPLOAD + 2)} requests a second, as fast as "
    f"they go: {UPLOADS_PER_SECOND} uploads, as many deletes of what was uploaded an hour before, "
    f"and {READS_PER_UPLOAD * UPLOADS_PER_SECOND} reads, which change no row and are not made. "
    "They are made in the database by the functions that the service calls, each with its own "
    "commits: of 20 uploads 17 photos of one chunk, one that is there already, one file of 8 "
    f"chunks, one given up. There are {LIVE_CHUNKS:,} chunks of others. Beside each hour's "
    f"requests goes one run of the collector with {WORKERS} workers and no delays, which takes "
    "what is in the trash through all stages, its bytes excepted: the store has none. Durable "
    "Postgres 18 with 1 GB of shared buffers and the tables' own settings of autovacuum; it comes "
    "by every second instead of every minute, since an hour passes in seconds, but is slowed down "
    "by its cost limits as ever: it has far less time for each dead row than in life. Dead: what "
    "Postgres counted at the ends of hours. The last two columns are pgstattuple's at the end, of "
    "the table without its indexes."
)
_HEAD = (
    "table",
    "rows at the end",
    *(f"MiB after {hour} h" for hour in SHOWN_HOURS),
    "dead rows at most",
    "autovacuums",
    "dead %",
    "free %",
)


def _requests_of(hours: Sequence[Hour]) -> float:
    return statistics.median(hour.seconds for hour in hours)


def _batch_of(hours: Sequence[Hour]) -> float:
    """Milliseconds of collection for each 1,000 keys, the median hour's."""
    return statistics.median(
        1e6 * (sum(run.seconds.values()) - run.seconds["recounting"]) / run.counts["deleted_keys"]
        for run in (hour.collection for hour in hours)
    )
