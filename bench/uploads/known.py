"""`python -m bench.uploads.known`: a file uploaded again, and again with a small edit: what it
takes, and what goes to S3.

Needs minio and toxiproxy. Writes its section of docs/performance.md.
"""

import argparse
import asyncio
import os
import re
import statistics
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.processes import end_on_sigterm
from bench.report import machine, table, write_section
from bench.uploads.client import Connection, Job, Requests, upload
from bench.uploads.section import number, place, size_text
from bench.uploads.servers import LATENCY_MS, Subject, World, mediastore, world
from mediastore.settings import MIB

SIZE = 64 * MIB
MIDDLE = SIZE // 2
FIRST = "new"
# What becomes of the file; all are stored behind each other, from one tenant.
VERSIONS: dict[str, Callable[[bytes], bytes]] = {
    FIRST: lambda data: data,
    "the same again": lambda data: data,
    "1 KiB overwritten in the middle": lambda data: (
        data[:MIDDLE] + os.urandom(1024) + data[MIDDLE + 1024 :]
    ),
    "1,000 bytes inserted in the middle": lambda data: (
        data[:MIDDLE] + os.urandom(1000) + data[MIDDLE:]
    ),
    "100 bytes inserted at the front": lambda data: os.urandom(100) + data,
}
_HEAD = ("upload", "seconds", "of new", "MiB to S3", "PUTs")
_TEXT = (
    "A file of {size} that repeats nowhere, in one request over one connection, then versions of "
    "it: medians of {count} files. What goes to S3 is counted by the service "
    "(`mediastore_chunk_store_bytes_total`, `mediastore_chunk_store_calls_total`)."
)
_BYTES = r'^mediastore_chunk_store_bytes_total\{direction="in"\} (\S+)'
_PUTS = r'^mediastore_chunk_store_calls_total\{[^}]*operation="put"[^}]*\} (\S+)'


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one upload."""

    seconds: float
    stored_bytes: float
    puts: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    end_on_sigterm()
    parts = [
        "## Known content, and small edits",
        f"Made by `python -m bench.uploads.known --files {options.files}` on {machine()}. "
        + _TEXT.format(size=size_text(SIZE), count=options.files),
    ]
    with world() as made:
        for latency_ms in (0, LATENCY_MS):
            costs = _measure(made, latency_ms, options.files)
            parts += [f"{place(latency_ms)}:", table(_HEAD, list(_rows(costs)))]
    body = "\n\n".join(parts)
    print(body)
    if not options.dry:
        write_section("upload-known", body)


def _rows(costs: dict[str, Cost]) -> Iterator[list[str]]:
    for name, cost in costs.items():
        ratio = cost.seconds / costs[FIRST].seconds
        stored = f"{cost.stored_bytes / MIB:.1f}"
        yield [name, number(cost.seconds), f"{ratio:.2f}×", stored, f"{cost.puts:.0f}"]


def _measure(made: World, latency_ms: int, files: int) -> dict[str, Cost]:
    with made.store_url(latency_ms) as url:
        with mediastore(made.folder, url, made.postgres) as subject:
            found = asyncio.run(_upload(subject, files))
    return {name: _median([one[name] for one in found]) for name in VERSIONS}


async def _upload(subject: Subject, files: int) -> list[dict[str, Cost]]:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", subject.server.port)
    found = []
    for _ in range(files):
        data = os.urandom(SIZE)
        found.append(
            {name: await _cost(subject, connection, edit(data)) for name, edit in VERSIONS.items()}
        )
    connection.close()
    return found


async def _cost(subject: Subject, connection: Connection, body: bytes) -> Cost:
    stored_bytes, puts = _stored(subject)
    job = Job(subject.server.port, subject.path, subject.headers, len(body), 1, 1, 1)
    seconds = await upload(connection, job, Requests(job), body)
    stored_bytes_after, puts_after = _stored(subject)
    return Cost(seconds, stored_bytes_after - stored_bytes, puts_after - puts)


def _stored(subject: Subject) -> tuple[float, float]:
    """Bytes and PUTs that have gone to the store so far."""
    with urllib.request.urlopen(subject.metrics_url, timeout=10) as response:
        text = response.read().decode()
    stored_bytes, puts = (
        sum(float(value) for value in re.findall(sample, text, re.MULTILINE))
        for sample in (_BYTES, _PUTS)
    )
    return stored_bytes, puts


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.seconds for cost in costs),
        statistics.median(cost.stored_bytes for cost in costs),
        statistics.median(cost.puts for cost in costs),
    )


if __name__ == "__main__":
    main()
