"""One collector in a process of its own: `python -m bench.gc.collecting CONFIG < job > result`.

It is the product's, as `mediastore-gc run` makes it, with no delays; its progress tells when each
stage began.
"""

import asyncio
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mediastore_gc.limits import RunLimits
from mediastore_gc.progress import Progress
from mediastore_gc.room import open_room
from mediastore_gc.safety import CollectionDelays

from bench.gc.apart import run_apart
from mediastore.allocator import bound_arenas
from mediastore.settings import load_settings

SECONDS_MAX = 3600
PLAN = "plan"


@dataclass(frozen=True, slots=True)
class Job:
    """How a run is limited."""

    workers: int = 1
    rate: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds by stage, what was done, and the most memory that the process has had."""

    seconds: dict[str, float]
    counts: dict[str, int]
    memory_bytes: int


class StageTimes(Progress):
    """Notes when each stage begins."""

    def __init__(self) -> None:
        super().__init__()
        self.began: list[tuple[str, float]] = []

    def begin(self, stage: str, unit: str, total: int | None = None) -> None:
        self.began.append((stage, time.perf_counter()))
        super().begin(stage, unit, total)

    def seconds(self) -> dict[str, float]:
        ends = [*self.began[1:], ("", time.perf_counter())]
        return {
            stage: end - start for (stage, start), (_, end) in zip(self.began, ends, strict=True)
        }


async def collect(config: Path, job: Job) -> Result:
    delays = CollectionDelays(0, 0, 0, 300, unsafe=True)
    times = StageTimes()
    async with open_room(load_settings(config)) as room:
        limits = RunLimits(workers=job.workers, rate=job.rate)
        collector = room.collector(delays, limits=limits, progress=times)
        times.begin(PLAN, "")
        counts = await collector.execute(await collector.plan())
        seconds = times.seconds()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Result(seconds, asdict(counts), memory)


async def collected(config: Path, job: Job) -> Result:
    """The same, in a process of its own."""
    return Result(
        **await run_apart("bench.gc.collecting", job, str(config), seconds_max=SECONDS_MAX)
    )


if __name__ == "__main__":
    bound_arenas()
    print(json.dumps(asdict(asyncio.run(collect(Path(sys.argv[1]), Job(**json.load(sys.stdin)))))))
