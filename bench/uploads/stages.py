"""`python -m bench.uploads.stages`: where the time of a small creation with upload goes.

One client sends one upload after the other to a service that is watched from outside of its code
(staged.py). Needs minio and toxiproxy. Writes its section of docs/performance.md.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import end_on_sigterm
from bench.report import machine, table, write_section
from bench.uploads.client import Connection, Job, Requests, upload
from bench.uploads.section import place, size_text
from bench.uploads.servers import LATENCY_MS, Subject, World, mediastore, world
from bench.uploads.staged import BEGIN, COMMIT, KEY, PUT, RECEIVE
from mediastore.settings import KIB

SIZE = 16 * KIB
WARM_UP_COUNT = 50
STAGES = (
    "send, parse, route",
    "check the key",
    "read, cut, name",
    "first transaction: creation and intent",
    "PUT",
    "second transaction: commit and finish",
    "answer",
    "all, as the client sees it",
)
_TEXT = (
    "One upload of {size} after the other over one connection, creation with upload, bytes never "
    "seen before: milliseconds of each stage, medians of {count} uploads. The clock is read around "
    "the service's own functions by the bench; the service itself is as it ships."
)


@dataclass(frozen=True, slots=True)
class Span:
    """When something began and ended, on the clock that all processes share."""

    began: float
    ended: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    end_on_sigterm()
    with world() as made:
        measured = {
            latency_ms: _measure(made, latency_ms, options.count) for latency_ms in (0, LATENCY_MS)
        }
    head = ["stage, ms", *(place(latency_ms) for latency_ms in measured)]
    rows = [
        [stage, *(f"{found[number]:.2f}" for found in measured.values())]
        for number, stage in enumerate(STAGES)
    ]
    command = f"python -m bench.uploads.stages --count {options.count}"
    text = _TEXT.format(size=size_text(SIZE), count=options.count)
    body = "\n\n".join(
        [
            "## Where the time of a small upload goes",
            f"Made by `{command}` on {machine()}. {text}",
            table(head, rows),
        ]
    )
    print(body)
    if not options.dry:
        write_section("upload-stages", body)


def _measure(made: World, latency_ms: int, count: int) -> list[float]:
    """Median milliseconds of each stage."""
    record = made.folder / f"stages-{latency_ms}"
    command = (sys.executable, "-m", "bench.uploads.staged", str(record))
    with made.store_url(latency_ms) as url:
        with mediastore(made.folder, url, made.postgres, command=command) as subject:
            seen = asyncio.run(_upload(subject, WARM_UP_COUNT + count))[WARM_UP_COUNT:]
    ran = _read(record)
    each = [_stages(span, ran) for span in seen]
    return [1000 * statistics.median(values) for values in zip(*each, strict=True)]


async def _upload(subject: Subject, count: int) -> list[Span]:
    """Each upload as the client sees it."""
    job = Job(subject.server.port, subject.path, subject.headers, SIZE, count, 1, 1)
    requests, bodies = Requests(job), [os.urandom(SIZE) for _ in range(count)]
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", job.port)
    seen = []
    for body in bodies:
        began = time.perf_counter()
        await upload(connection, job, requests, body)
        seen.append(Span(began, time.perf_counter()))
    connection.close()
    return seen


def _read(record: Path) -> dict[str, list[Span]]:
    ran: dict[str, list[Span]] = {}
    for line in record.read_text().splitlines():
        name, began, ended = json.loads(line)
        ran.setdefault(name, []).append(Span(began, ended))
    return ran


def _stages(whole: Span, ran: dict[str, list[Span]]) -> Sequence[float]:
    """Seconds of each stage of the upload that the client saw as `whole`."""
    key, receive, begin, put, commit = (
        _within(whole, ran[name]) for name in (KEY, RECEIVE, BEGIN, PUT, COMMIT)
    )
    checked = key.ended - key.began
    return (
        receive.began - whole.began - checked,
        checked,
        begin.began - receive.began,
        begin.ended - begin.began,
        put.ended - begin.ended,
        commit.ended - put.ended,
        whole.ended - commit.ended,
        whole.ended - whole.began,
    )


def _within(whole: Span, spans: Iterable[Span]) -> Span:
    return next(one for one in spans if whole.began <= one.began and one.ended <= whole.ended)


if __name__ == "__main__":
    main()
