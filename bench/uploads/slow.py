"""`python -m bench.uploads.slow`: what a thousand slow uploads cost a process, and those beside it.

Needs minio. Writes its section of docs/performance.md.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.processes import end_on_sigterm
from bench.report import machine, table, write_section
from bench.uploads.client import Connection, Failed, Job, Requests, upload
from bench.uploads.section import size_text
from bench.uploads.servers import Subject, mediastore, world
from bench.uploads.slow_client import SlowJob
from mediastore.settings import KIB, MIB

BUDGET_BYTES = 256 * MIB
SLOW_SIZE, SLOW_FIRST_BYTES, SLOW_BYTES_PER_SECOND = 64 * MIB, 512 * KIB, 4 * KIB
PROBE_SIZE = 16 * KIB
UPLOAD, READ = f"upload of {PROBE_SIZE // KIB} KiB", f"GET of {PROBE_SIZE // KIB} KiB"
WARM_UP_COUNT = 50
_IN_USE = re.compile(r"^mediastore_memory_budget_in_use_bytes (\S+)", re.MULTILINE)
_TEXT = (
    "{count:,} clients have each begun to upload {size} to one process: {first} at once, then "
    "{rate} a second. `memory.budget_bytes` is {budget}. Beside them one client uploads and reads "
    "small objects, one request after the other, for {seconds} s without the slow clients and for "
    "as long with them. {ending}"
)
_HEAD = ("milliseconds", "without, p50", "with, p50", "without, p99", "with, p99", "p99 ratio", "≤")
_MEMORY_HEAD = ("MiB", "without", "with")


@dataclass(frozen=True, slots=True)
class Phase:
    """Seconds of each probe by kind, and the process's memory meanwhile."""

    seconds: dict[str, list[float]]
    peak_bytes: int
    budget_bytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=20, help="of each of the two phases")
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    end_on_sigterm()
    settings = f"[memory]\nbudget_bytes = {BUDGET_BYTES}\n"
    with world() as made:
        with mediastore(made.folder, made.store.url, made.postgres, settings=settings) as subject:
            without = asyncio.run(_probe(subject, options.seconds))
            with slow_uploads(subject, options.uploads) as ending:
                beside = asyncio.run(_probe(subject, options.seconds))
    body = "\n\n".join(
        [
            "## Slow uploads",
            f"Made by `python -m bench.uploads.slow --uploads {options.uploads} --seconds "
            f"{options.seconds}` on {machine()}. "
            + _TEXT.format(
                count=options.uploads,
                size=size_text(SLOW_SIZE),
                first=size_text(SLOW_FIRST_BYTES),
                rate=size_text(SLOW_BYTES_PER_SECOND),
                budget=size_text(BUDGET_BYTES),
                seconds=options.seconds,
                ending=_ending(ending),
            ),
            table(_HEAD, [_row(kind, without, beside) for kind in (UPLOAD, READ)]),
            table(
                _MEMORY_HEAD,
                [
                    _mib("peak resident set", without.peak_bytes, beside.peak_bytes),
                    _mib("of the budget in use", without.budget_bytes, beside.budget_bytes),
                ],
            ),
        ]
    )
    print(body)
    if not options.dry:
        write_section("upload-slow", body)


@contextmanager
def slow_uploads(subject: Subject, count: int) -> Iterator[dict[str, int]]:
    """All of them, begun; at the end of the block the mapping says what has become of them."""
    server = subject.server
    job = SlowJob(
        server.port,
        subject.path,
        subject.headers,
        count,
        SLOW_SIZE,
        SLOW_FIRST_BYTES,
        SLOW_BYTES_PER_SECOND,
    )
    client = subprocess.Popen(
        [sys.executable, "-m", "bench.uploads.slow_client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    ending: dict[str, int] = {}
    try:
        if client.stdin is None or client.stdout is None:
            raise RuntimeError("pipes were asked for")
        client.stdin.write(json.dumps(asdict(job)) + "\n")
        client.stdin.flush()
        if not client.stdout.readline():
            raise SystemExit("the slow clients did not begin")
        yield ending
        rest, _ = client.communicate(timeout=60)
        ending.update(json.loads(rest))
    finally:
        client.kill()
        client.wait()


async def _probe(subject: Subject, seconds: int) -> Phase:
    """Uploads and reads in turn."""
    status = Path(f"/proc/{subject.server.pid}/status")
    Path(f"/proc/{subject.server.pid}/clear_refs").write_text("5")
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", subject.server.port)
    job = Job(subject.server.port, subject.path, subject.headers, PROBE_SIZE, 1, 1, 1)
    requests = Requests(job)
    found: dict[str, list[float]] = {UPLOAD: [], READ: []}
    budget_bytes = 0.0
    await upload(connection, job, requests, os.urandom(PROBE_SIZE))
    read = _read_request(subject)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found[UPLOAD].append(await upload(connection, job, requests, os.urandom(PROBE_SIZE)))
        began = time.perf_counter()
        answer = await connection.ask(read)
        found[READ].append(time.perf_counter() - began)
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            raise Failed(f"{answer!r}")
        if len(found[READ]) % WARM_UP_COUNT == 0:
            budget_bytes = max(budget_bytes, _in_use(subject))
    connection.close()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if peak is None:
        raise SystemExit("this measurement needs Linux")
    return Phase(
        {kind: values[WARM_UP_COUNT:] for kind, values in found.items()},
        int(peak[1]) * KIB,
        budget_bytes,
    )


def _read_request(subject: Subject) -> bytes:
    """A GET of the content of a new small object."""
    made = urllib.request.Request(
        f"{subject.server.url}/v1/objects",
        data=os.urandom(PROBE_SIZE),
        headers={**subject.headers, "Content-Type": "application/octet-stream"},
    )
    with urllib.request.urlopen(made, timeout=30) as response:
        path = json.load(response)["links"]["content"]
    fields = "".join(f"{name}: {value}\r\n" for name, value in subject.headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode()


def _in_use(subject: Subject) -> float:
    with urllib.request.urlopen(subject.metrics_url, timeout=10) as response:
        found = _IN_USE.search(response.read().decode())
    return float(found[1]) if found else 0.0


def _row(kind: str, without: Phase, beside: Phase) -> list[str]:
    (first50, first99), (second50, second99) = (
        (1000 * statistics.median(phase.seconds[kind]), 1000 * _p99(phase.seconds[kind]))
        for phase in (without, beside)
    )
    times = (first50, second50, first99, second99)
    return [kind, *(f"{value:.2f}" for value in times), f"{second99 / first99:.2f}×", "2×"]


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


def _mib(name: str, *values: float) -> list[str]:
    return [name, *(f"{value / MIB:,.0f}" for value in values)]


def _ending(ending: dict[str, int]) -> str:
    """How the slow clients stood at the end."""
    others = {state: number for state, number in ending.items() if state != "going"}
    if not others:
        return "At the end all of them were still being received."
    told = ", ".join(f"{number} {state}" for state, number in others.items())
    return f"At the end {ending.get('going', 0)} were still being received ({told})."


if __name__ == "__main__":
    main()
