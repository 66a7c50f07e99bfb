"""What is measured: every size and way of uploading, the servers taking turns, in rounds."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from bench.uploads.client import Job, Result
from bench.uploads.servers import Subject
from mediastore.settings import KIB, MIB

CLIENT_SECONDS_MAX = 300


@dataclass(frozen=True, slots=True)
class Load:
    """Uploads of one size: how many in a round, over how many connections."""

    size: int
    count: int
    connections: int


LOADS = (
    Load(16 * KIB, 240, 4),  # waiting decides
    Load(256 * KIB, 160, 4),
    Load(MIB, 80, 4),
    Load(16 * KIB, 800, 16),  # two cores are full: cost decides
    Load(256 * KIB, 320, 16),
    Load(MIB, 128, 16),
    Load(8 * MIB, 24, 4),
    Load(64 * MIB, 4, 1),
    Load(64 * MIB, 4, 2),
)
WARM_UP_COUNT = 32


@dataclass(frozen=True, slots=True)
class Reading:
    """One round of one server."""

    uploads_per_second: float
    cpu_ms: float
    database_cpu_ms: float


@dataclass(frozen=True, slots=True)
class Cell:
    """The medians of a server's rounds with one load."""

    server: str
    load: Load
    requests: int
    median: Reading


def rounds(
    subjects: Sequence[Subject], loads: Sequence[Load], requests: int, *, count: int
) -> Iterator[Cell]:
    """`count` rounds of each load, the servers taking turns; a median for each of both."""
    for load in loads:
        for subject in subjects:  # connections, code and plans that exist once they were used once
            measure(subject, job_of(subject, replace(load, count=_warm_up(load)), requests))
        readings: dict[str, list[Reading]] = {subject.name: [] for subject in subjects}
        for _ in range(count):
            for subject in subjects:
                readings[subject.name].append(measure(subject, job_of(subject, load, requests)))
        for name, found in readings.items():
            yield Cell(name, load, requests, median(found))


def _warm_up(load: Load) -> int:
    return min(max(load.connections, WARM_UP_COUNT), load.count)


def job_of(subject: Subject, load: Load, requests: int) -> Job:
    return Job(
        port=subject.server.port,
        path=subject.path,
        headers=subject.headers,
        size=load.size,
        count=load.count,
        connections=load.connections,
        requests=requests,
    )


def measure(subject: Subject, job: Job) -> Reading:
    cpu, database_cpu = subject.cpu_seconds(), subject.database_cpu_seconds()
    seconds = _run_client(job).seconds
    return Reading(
        uploads_per_second=job.count / seconds,
        cpu_ms=1000 * (subject.cpu_seconds() - cpu) / job.count,
        database_cpu_ms=1000 * (subject.database_cpu_seconds() - database_cpu) / job.count,
    )


def _run_client(job: Job) -> Result:
    finished = subprocess.run(
        [sys.executable, "-m", "bench.uploads.client"],
        input=json.dumps(asdict(job)),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=CLIENT_SECONDS_MAX,
    )
    if finished.returncode != 0:
        raise SystemExit(f"the client ended with status {finished.returncode} on {job}")
    return Result(**json.loads(finished.stdout))


def median(readings: Sequence[Reading]) -> Reading:
    return Reading(
        *(
            statistics.median(getattr(reading, name) for reading in readings)
            for name in ("uploads_per_second", "cpu_ms", "database_cpu_ms")
        )
    )
