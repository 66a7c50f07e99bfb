"""What a paced collection costs those who upload and read, at half of what the machine can do."""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.gc.apart import run_apart
from bench.gc.collecting import Job as Collection
from bench.gc.collecting import collected
from bench.gc.filling import Shape
from bench.gc.load_client import UPLOAD_EVERY, Job, Result
from bench.gc.planting import plant_garbage
from bench.gc.world import BUCKET, copied, fill_folder, kept_postgres, write_config
from bench.processes import Server, minio
from bench.report import machine, table
from bench.uploads.servers import DATABASE, mediastore
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import KIB

LIVE_CHUNKS = 200_000
SIZE = 64 * KIB
CONNECTIONS = 16
WARM_UP_SECONDS = 3.0
CAPACITY_SECONDS = 8.0
SHARE = 0.5  # of the capacity
RATE = 500  # keys a second
RECOUNT_RATE = 20_000  # references a second
SECONDS = 20.0  # of each turn
SLOWER_MAX, P99_MAX = 1.1, 1.5
CLIENT_SECONDS_MAX = 300


@dataclass(frozen=True, slots=True)
class Round:
    """The same load alone and beside a collection, and what it is half of."""

    capacity: float
    alone: Result
    beside: Result
    collection_seconds: float


async def measure(folder: Path, rounds: int) -> list[Round]:
    await fill_folder(folder / "catalog", Shape(LIVE_CHUNKS, round(RATE * SECONDS)))
    found = []
    with kept_postgres(folder / "catalog") as postgres:
        for number in range(rounds):
            (folder / str(number)).mkdir()
            with minio(folder / str(number), [BUCKET]) as store:
                found.append(await _round(folder / str(number), postgres, store))
    return found


async def _round(folder: Path, postgres: LocalPostgres, store: Server) -> Round:
    async with copied(postgres, DATABASE) as dsn:
        await plant_garbage(folder, store, dsn, prefix="")
        pace = f"recount_rate_rows_per_second = {RECOUNT_RATE}\n"
        config = write_config(folder / "gc.toml", dsn, store.url, collection=pace)
        with mediastore(folder, store.url, postgres) as subject:
            port, path, headers = subject.server.port, subject.path, subject.headers
            job = Job(port, path, headers, SIZE, CONNECTIONS, WARM_UP_SECONDS, None)
            _ = await loaded(job)
            capacity = (await loaded(replace(job, seconds=CAPACITY_SECONDS))).rate
            paced = replace(job, rate=SHARE * capacity, seconds=SECONDS)
            alone = await loaded(paced)
            collecting = asyncio.create_task(collected(config, Collection(rate=RATE)))
            beside = await loaded(paced)
            run = await collecting
    return Round(capacity, alone, beside, sum(run.seconds.values()))


async def loaded(job: Job) -> Result:
    return Result(**await run_apart("bench.gc.load_client", job, seconds_max=CLIENT_SECONDS_MAX))


def section(rounds: Sequence[Round], command: str) -> str:
    capacity = statistics.median(one.capacity for one in rounds)
    text = _TEXT.format(
        size=SIZE // KIB,
        every=UPLOAD_EVERY,
        capacity=capacity,
        rate=capacity * SHARE,
        rounds=len(rounds),
        took=statistics.median(one.collection_seconds for one in rounds),
    )
    rows = []
    for kind in ("uploads", "reads"):
        for name, quantile, most in (("median", 0.5, SLOWER_MAX), ("p99", 0.99, P99_MAX)):
            alone, beside = (
                statistics.median(_quantile(getattr(one, kind), quantile) for one in turns)
                for turns in ([one.alone for one in rounds], [one.beside for one in rounds])
            )
            rows.append(
                [f"{kind}, {name}", f"{1000 * alone:.1f}", f"{1000 * beside:.1f}",
                 f"{beside / alone:.2f}×", f"≤ {most}×"]
            )  # fmt: skip
    return "\n\n".join(
        [
            "## Uploads and reads beside a collection",
            f"Made by `{command}` on {machine()}. {text}",
            table(("ms", "alone", "beside a collection", "ratio", "to reach"), rows),
        ]
    )


_TEXT = (
    "Uploads of {size} KiB never seen before and reads of such objects, one request in {every} an "
    "upload, over 16 connections, at half of the {capacity:,.0f} requests a second that were the "
    "most: {rate:,.0f}. Milliseconds from when a request was due to its answer; medians of "
    f"{{rounds}} rounds of {SECONDS:.0f} s each way. Beside them a collection that was given "
    f"`--rate {RATE}` and a recount of {RECOUNT_RATE:,} references a second, and took {{took:.0f}} "
    "s. Service, client, collector, Postgres and MinIO share the machine's cores."
)


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
