"""Dooming and deleting against a bare loop of DeleteObjects on the same MinIO, taking turns."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mediastore_gc.limits import WORKERS

from bench.gc import bare
from bench.gc.collecting import Job, Result, collected
from bench.gc.filling import Shape
from bench.gc.planting import plant_garbage
from bench.gc.world import BUCKET, copied, fill_folder, kept_postgres, write_config
from bench.processes import Server, minio
from bench.report import machine, table
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import MIB

LIVE_CHUNKS = 200_000
AT_ONCE = (1, 2)
DOOMING = ("removing garbage", "releasing")
MEMORY_MAX_BYTES = 200 * MIB
LEAST = 0.9


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn with so many requests at once: the bare loop's keys a second, and the collector's
    run on the same keys.
    """

    at_once: int
    bare: float
    collected: Result

    @property
    def doomed(self) -> float:
        """Keys a second, from a garbage blob to a doomed key."""
        seconds = sum(self.collected.seconds[stage] for stage in DOOMING)
        return self.collected.counts["doomed_keys"] / seconds

    @property
    def deleted(self) -> float:
        """Keys a second, from a doomed key to none."""
        return self.collected.counts["deleted_keys"] / self.collected.seconds["deleting"]

    @property
    def both(self) -> float:
        return 1 / (1 / self.doomed + 1 / self.deleted)


async def measure(
    folder: Path, garbage: int, rounds: int, at_once: Sequence[int] = AT_ONCE
) -> list[Turn]:
    """`rounds` turns of each; the first round warms up and is not among them."""
    await fill_folder(folder / "catalog", Shape(LIVE_CHUNKS, garbage))
    with kept_postgres(folder / "catalog") as postgres, minio(folder, [BUCKET]) as store:
        turns = [
            [await _turn(folder, postgres, store, f"{number}-{many}", many) for many in at_once]
            for number in range(rounds + 1)
        ]
    return [turn for one in turns[1:] for turn in one]


async def _turn(
    folder: Path, postgres: LocalPostgres, store: Server, name: str, at_once: int
) -> Turn:
    async with copied(postgres) as dsn:
        keys = await plant_garbage(folder, store, dsn, prefix=f"bare-{name}/")
        seconds = await bare.deleted(bare.Job(store.url, keys, at_once))
        prefix = f"ours-{name}/"
        await plant_garbage(folder, store, dsn, prefix=prefix)
        config = write_config(folder / "gc.toml", dsn, store.url, prefix=prefix)
        return Turn(at_once, len(keys) / seconds, await collected(config, Job(workers=at_once)))


def section(turns: Sequence[Turn], command: str) -> str:
    by_many = {many: [turn for turn in turns if turn.at_once == many] for many in AT_ONCE}
    rows = [_row(many, found) for many, found in by_many.items() if found]
    as_it_comes = statistics.median(turn.both for turn in by_many[WORKERS])
    sequential = statistics.median(turn.bare for turn in by_many[1])
    memory = max(turn.collected.memory_bytes for turn in turns) / MIB
    rounds = len(turns) // len(rows)
    keys = turns[0].collected.counts["deleted_keys"]
    return "\n\n".join(
        [
            "## Dooming and deleting",
            f"Made by `{command}` on {machine()}. {_TEXT.format(keys=keys, rounds=rounds)}",
            table(_HEAD, rows),
            (
                f"As `run` comes, with {WORKERS} workers, dooming and deleting reach "
                f"{as_it_comes / sequential:.2f}× of a bare loop with one request at a time, and "
                f"deleting {_deleted(by_many[WORKERS]) / sequential:.2f}×. "
                f"The collector's process had {memory:.0f} MiB at most (to reach: less than "
                f"{MEMORY_MAX_BYTES // MIB})."
            ),
        ]
    )


_TEXT = (
    "Keys a second of a bare loop of DeleteObjects (1,000 keys each, quiet, nothing looked at, no "
    "database) and of `mediastore-gc`'s collector with all of its guards, taking turns on one "
    "MinIO and, for the collector, a durable Postgres, everything on one machine and disk; about "
    "{keys:,} keys a turn, medians of {rounds} rounds. Doomed: from a blob of garbage to doomed "
    "keys. Deleted: from there to no key and no row. The objects are as small as can be, so that "
    "the store has the least to do, which is the hardest case for the ratio."
)
_HEAD = (
    "DeleteObjects at once, workers",
    "bare loop",
    "doomed",
    "deleted",
    "doomed and deleted",
    "deleted, of the bare loop",
    "both, of the bare loop",
    "to reach",
)


def _deleted(turns: Sequence[Turn]) -> float:
    return statistics.median(turn.deleted for turn in turns)


def _row(many: int, turns: Sequence[Turn]) -> list[str]:
    def median(value: Callable[[Turn], float]) -> float:
        return statistics.median(value(turn) for turn in turns)

    return [
        str(many),
        f"{median(lambda turn: turn.bare):,.0f}",
        f"{median(lambda turn: turn.doomed):,.0f}",
        f"{median(lambda turn: turn.deleted):,.0f}",
        f"{median(lambda turn: turn.both):,.0f}",
        f"{median(lambda turn: turn.deleted / turn.bare):.2f}×",
        f"{median(lambda turn: turn.both / turn.bare):.2f}×",
        f"{LEAST}×",
    ]
