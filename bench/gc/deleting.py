"""Dooming and deleting against a bare loop of DeleteObjects on the same MinIO, taking turns.

One call is one round on a kept catalog, of which it works on copies; rounds add up, so that each is
short enough to have the machine to itself.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mediastore_gc.limits import WORKERS

from bench.gc import bare
from bench.gc.collecting import Job, Result, collected
from bench.gc.planting import plant_garbage
from bench.gc.world import BUCKET, copied, kept_postgres, write_config
from bench.processes import Server, minio
from bench.report import machine, table
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import MIB

AT_ONCE = (1, 2)
DOOMING = ("removing garbage", "releasing")
MEMORY_MAX_BYTES = 200 * MIB
LEAST = 0.9


@dataclass(frozen=True, slots=True)
class Turn:
    """With so many requests at once: keys a second of each bare loop, and the collector's runs."""

    at_once: int
    loops: Sequence[float]
    runs: Sequence[Result]

    @property
    def bare(self) -> float:
        return statistics.harmonic_mean(self.loops)  # each had as many keys

    @property
    def doomed(self) -> float:
        """Keys a second, from a garbage blob to a doomed key."""
        return self._rate("doomed_keys", *DOOMING)

    @property
    def deleted(self) -> float:
        """Keys a second, from a doomed key to none."""
        return self._rate("deleted_keys", "deleting")

    @property
    def both(self) -> float:
        return 1 / (1 / self.doomed + 1 / self.deleted)

    def _rate(self, count: str, *stages: str) -> float:
        seconds = sum(run.seconds[stage] for run in self.runs for stage in stages)
        return sum(run.counts[count] for run in self.runs) / seconds


async def measure(folder: Path, catalog: Path) -> list[Turn]:
    """A round: each loop and each run once, and once more in the other order, so that a machine
    that gets faster or slower meanwhile favours neither.
    """
    order = [(at_once, ours) for at_once in AT_ONCE for ours in (False, True)]
    loops: dict[int, list[float]] = {at_once: [] for at_once in AT_ONCE}
    runs: dict[int, list[Result]] = {at_once: [] for at_once in AT_ONCE}
    with kept_postgres(catalog) as postgres:
        for number, (at_once, ours) in enumerate([*order, *order[::-1]]):
            home = folder / str(number)
            if ours:
                runs[at_once].append(await _collected(home, postgres, at_once))
            else:
                loops[at_once].append(await _bare(home, postgres, at_once))
    return [Turn(at_once, loops[at_once], runs[at_once]) for at_once in AT_ONCE]


async def _bare(home: Path, postgres: LocalPostgres, at_once: int) -> float:
    async with copied(postgres) as dsn:
        with _store(home) as store:
            keys = await plant_garbage(home, store, dsn, prefix="")
            return len(keys) / await bare.deleted(bare.Job(store.url, keys, at_once))


async def _collected(home: Path, postgres: LocalPostgres, at_once: int) -> Result:
    async with copied(postgres) as dsn:
        with _store(home) as store:
            await plant_garbage(home, store, dsn, prefix="")
            config = write_config(home / "gc.toml", dsn, store.url)
            return await collected(config, Job(workers=at_once))


@contextmanager
def _store(home: Path) -> Iterator[Server]:
    """A new one each time: MinIO moves what it deletes aside for minutes, and gets slower by it."""
    home.mkdir()
    with minio(home, [BUCKET]) as store:
        yield store


def turn_of(reading: dict[str, Any]) -> Turn:
    """A kept reading as it was."""
    runs = [Result(**run) for run in reading["runs"]]
    return Turn(reading["at_once"], reading["loops"], runs)


def section(turns: Sequence[Turn], command: str) -> str:
    by_many = {many: [turn for turn in turns if turn.at_once == many] for many in AT_ONCE}
    memory = max(run.memory_bytes for turn in turns for run in turn.runs) / MIB
    # As `run` comes, against one request after the other: turns of one round belong together.
    pairs = list(zip(by_many[WORKERS], by_many[1], strict=True))
    deleted = [ours.deleted / loop.bare for ours, loop in pairs]
    both = [ours.both / loop.bare for ours, loop in pairs]
    keys = turns[0].runs[0].counts["deleted_keys"]
    return "\n\n".join(
        [
            "## Dooming and deleting",
            f"Made by `{command}` on {machine()}. {_TEXT.format(keys=keys, rounds=len(pairs))}",
            table(_HEAD, [_row(many, found) for many, found in by_many.items()]),
            (
                f"As `run` comes, with {WORKERS} workers, against a bare loop with one request at "
                f"a time: deleting {_ratio(deleted)}, dooming and deleting {_ratio(both)}. "
                f"The collector's process had {memory:.0f} MiB at most (to reach: less than "
                f"{MEMORY_MAX_BYTES // MIB})."
            ),
        ]
    )


_TEXT = (
    "Keys a second of a bare loop of DeleteObjects (1,000 keys each, quiet, nothing looked at, no "
    "database) and of `mediastore-gc`'s collector with all of its guards, taking turns, each on a "
    "new MinIO and, for the collector, a durable Postgres, everything on one machine and disk; "
    "about {keys:,} keys a turn, two turns of each in a round, the second half in the other "
    "order; rounds, of which medians are shown: {rounds}. Doomed: from a blob of garbage to doomed "
    "keys. Deleted: from there to no key and no row. Both: one after the other, though a window "
    "lies between them. Ratios are the medians of each round's, with the lowest and the "
    "highest. The objects are as small as can be, so that the store has the least to do, which is "
    "the hardest case for the ratio."
)
_HEAD = (
    "DeleteObjects at once, workers",
    "bare loop",
    "doomed",
    "deleted",
    "both",
    f"deleted, of the bare loop (≥ {LEAST}×)",
    f"both, of the bare loop (≥ {LEAST}×)",
)


def _row(many: int, turns: Sequence[Turn]) -> list[str]:
    def median(value: Callable[[Turn], float]) -> str:
        return f"{statistics.median(value(turn) for turn in turns):,.0f}"

    return [
        str(many),
        median(lambda turn: turn.bare),
        median(lambda turn: turn.doomed),
        median(lambda turn: turn.deleted),
        median(lambda turn: turn.both),
        _ratio([turn.deleted / turn.bare for turn in turns]),
        _ratio([turn.both / turn.bare for turn in turns]),
    ]


def _ratio(found: Sequence[float]) -> str:
    middle = statistics.median(found)
    missed = "" if middle >= LEAST else ", missed"
    return f"{middle:.2f}× ({min(found):.2f}× to {max(found):.2f}×{missed})"
