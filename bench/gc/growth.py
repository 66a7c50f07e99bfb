"""Does the time to collect a fixed amount of garbage grow with what is live?

The same amount of garbage in catalogs of different sizes, collected by one run each; the recount,
which reads every reference there is, is reported apart. Beside it stands restic, whose prune looks
at all that is live.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from bench.gc.collecting import Job, Result, collected
from bench.gc.picture import Line, svg
from bench.gc.planting import plant_garbage
from bench.gc.restic import GARBAGE_FILES, Pruned
from bench.gc.world import BUCKET, FILLED, kept_postgres, write_config
from bench.processes import minio
from bench.report import PERFORMANCE, machine, table
from mediastore.settings import MIB

PICTURE = PERFORMANCE.parent / "gc-growth.svg"
MOST = 1.3
KEYS = 100_000
PLANNED_CHUNKS = 300_000_000
WORKERS = 2
RECOUNTING = "recounting"


@dataclass(frozen=True, slots=True)
class Collected:
    """A run on a catalog of so many chunks, and how many references its recount read."""

    chunks: int
    references: int
    run: Result

    @property
    def seconds(self) -> float:
        """For KEYS keys, without the recount."""
        total = sum(self.run.seconds.values()) - self.run.seconds[RECOUNTING]
        return total * KEYS / self.run.counts["deleted_keys"]

    @property
    def recount_rows_per_second(self) -> float:
        return self.references / self.run.seconds[RECOUNTING]


async def measure(folder: Path, catalog: Path) -> Collected:
    """One run on a kept catalog, which has no garbage from then on."""
    with kept_postgres(catalog) as postgres, minio(folder, [BUCKET]) as store:
        dsn = postgres.dsn(FILLED)
        connection = await asyncpg.connect(dsn)
        try:
            chunks = await connection.fetchval("SELECT count(*) FROM chunks")
            if await connection.fetchval("SELECT count(*) FROM garbage") == 0:
                raise SystemExit(f"{catalog} has no garbage any more; fill another")
            await plant_garbage(folder, store, dsn, prefix="")
            config = write_config(folder / "gc.toml", dsn, store.url)
            run = await collected(config, Job(workers=WORKERS))
            read = await connection.fetchval("SELECT max(references_read) FROM recounts")
        finally:
            await connection.close()
    return Collected(chunks, read, run)


def collected_of(reading: dict[str, Any]) -> Collected:
    """A kept reading as it was."""
    return Collected(reading["chunks"], reading["references"], Result(**reading["run"]))


def section(found: Sequence[Collected], prunes: Sequence[Pruned]) -> str:
    first = found[0].seconds
    rows = [
        [
            f"{one.chunks:,}",
            f"{_stage(one, 'plan'):.1f}",
            f"{_stage(one, 'removing garbage', 'releasing'):.1f}",
            f"{_stage(one, 'deleting'):.1f}",
            f"{one.seconds:.1f}",
            f"{one.seconds / first:.2f}× (≤ {MOST}×)",
            f"{one.run.seconds[RECOUNTING]:.1f}",
            f"{one.recount_rows_per_second:,.0f}",
            f"{one.run.memory_bytes / MIB:.0f}",
        ]
        for one in found
    ]
    return "\n\n".join(
        [
            "## Collecting in small and in large catalogs",
            f"Made by `python -m bench.gc growth` and `restic` on {machine()}. {_TEXT}",
            table(_HEAD, rows),
            *_beside(prunes),
        ]
    )


_TEXT = (
    f"Seconds to find, doom and delete {KEYS:,} chunks of garbage, spread over the whole catalog, "
    f"in one run of {WORKERS} workers: the same garbage each time, only what is live differs. "
    "Filled without durability, measured with it (1 GB of shared buffers, the rest as Postgres "
    "comes). MinIO holds the keys of garbage alone: that its deletes do not get slower with what "
    "else it holds is not measured. All includes sweeping what is remembered of the garbage; the "
    "recount reads all references and is not in it."
)
_HEAD = (
    "chunks",
    "find",
    "doom",
    "delete",
    "all",
    "of the smallest",
    "recount",
    "references a second",
    "MiB of memory",
)


def _stage(one: Collected, *stages: str) -> float:
    total = sum(one.run.seconds[stage] for stage in stages)
    return total * KEYS / one.run.counts["deleted_keys"]


def _beside(prunes: Sequence[Pruned]) -> list[str]:
    if not prunes:
        return ["restic's prune was not measured."]
    each, fixed = line_through(prunes)
    rows = [[f"{one.live:,}", f"{one.seconds:.1f}"] for one in prunes]
    at_plan = fixed + each * PLANNED_CHUNKS
    return [
        (
            f"restic's prune on files of 64 bytes, each a blob, with {GARBAGE_FILES:,} blobs of "
            "garbage that have packs of their own (its best case), on the local disk:"
        ),
        table(("live blobs", "seconds"), rows),
        (
            f"A line through these has {1e6 * each:.1f} s a million live blobs: at "
            f"{PLANNED_CHUNKS:,}, {fixed:.1f} s + {1e6 * each:.1f} s × {PLANNED_CHUNKS // 10**6} = "
            f"{at_plan / 60:,.0f} minutes, if it kept to that line. It was not measured there; its "
            "line is dashed past what was."
        ),
        "![Seconds over live chunks](gc-growth.svg)",
    ]


def line_through(prunes: Sequence[Pruned]) -> tuple[float, float]:
    """Least squares: seconds a live blob, and seconds at none."""
    count = len(prunes)
    mean_x = sum(one.live for one in prunes) / count
    mean_y = sum(one.seconds for one in prunes) / count
    over = sum((one.live - mean_x) * (one.seconds - mean_y) for one in prunes)
    each = over / sum((one.live - mean_x) ** 2 for one in prunes)
    return each, mean_y - each * mean_x


def draw(found: Sequence[Collected], prunes: Sequence[Pruned]) -> str:
    each, fixed = line_through(prunes)
    largest = max(one.chunks for one in found)
    ours = [(float(one.chunks), one.seconds) for one in found]
    theirs = [(float(one.live), one.seconds) for one in prunes]
    guessed = [(x, fixed + each * x) for x in (1e6, 1e7, 3e7) if theirs[-1][0] < x <= 3 * largest]
    return svg(
        "Time to collect a fixed amount of garbage",
        "live chunks, live blobs",
        f"seconds ({KEYS:,} keys of garbage; restic: {GARBAGE_FILES:,})",
        {
            "mediastore-gc": Line(ours, len(ours)),
            "restic prune": Line([*theirs, *guessed], len(theirs)),
        },
    )
