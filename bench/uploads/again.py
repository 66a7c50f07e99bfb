"""`python -m bench.uploads.again`: what it is worth that the service has the bytes already.

Bytes that it has never seen, then the same bytes again as new uploads: one process, near the store
and farther off, many rounds, because one says little on a machine with other work. Needs minio and
toxiproxy. Writes its section of docs/performance.md.
"""

import argparse
import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bench.processes import end_on_sigterm
from bench.report import machine, table, write_section
from bench.uploads.measure import LOADS, Load, Reading, job_of, measure, median
from bench.uploads.section import load_text, number, place
from bench.uploads.servers import LATENCY_MS, Subject, mediastore, world
from mediastore.settings import MIB

LARGE = [load for load in LOADS if load.size >= 8 * MIB]
TARGET = "3×"
HEAD = (
    "size, connections",
    "first time, uploads/s",
    "again, uploads/s",
    "ratio",
    "of the rounds",
    "to reach",
    "CPU ms, first time",
    "again",
)
_TEXT = (
    "Made by `python -m bench.uploads.again --rounds {count}` on {machine}. New bytes, then the "
    "same bytes once more as new uploads in one request each, to one process with its defaults and "
    "a durable Postgres 18: medians of {count} rounds (the ratio: of their ratios), after one that "
    "is not counted."
)


@dataclass(frozen=True, slots=True)
class Twice:
    """The rounds of one load: each has first uploads of bytes, then second ones of the same."""

    load: Load
    first: Sequence[Reading]
    second: Sequence[Reading]

    def row(self, latency_ms: int) -> list[str]:
        first, second = median(self.first), median(self.second)
        ratios = [
            after.uploads_per_second / before.uploads_per_second
            for before, after in zip(self.first, self.second, strict=True)
        ]
        return [
            load_text(self.load),
            number(first.uploads_per_second),
            number(second.uploads_per_second),
            f"{statistics.median(ratios):.2f}×",
            f"{min(ratios):.1f}× to {max(ratios):.1f}×",
            TARGET if latency_ms else "–",
            number(first.cpu_ms),
            number(second.cpu_ms),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    end_on_sigterm()
    parts = [
        "## The same bytes again",
        _TEXT.format(count=options.rounds, machine=machine()),
    ]
    with world() as made:
        for latency_ms in (0, LATENCY_MS):
            with ExitStack() as stack:
                url = stack.enter_context(made.store_url(latency_ms))
                ours = stack.enter_context(mediastore(made.folder, url, made.postgres))
                rows = [found.row(latency_ms) for found in _rounds(ours, options.rounds)]
            parts += [f"{place(latency_ms)}:", table(HEAD, rows)]
    body = "\n\n".join(parts)
    print(body)
    if not options.dry:
        write_section("upload-again", body)


def _rounds(subject: Subject, count: int) -> Iterator[Twice]:
    for load in LARGE:
        first, second = [], []
        for _ in range(count + 1):
            seed = int.from_bytes(os.urandom(4), "big")
            job = replace(job_of(subject, load, 1), seed=seed)
            first.append(measure(subject, job))
            second.append(measure(subject, job))
        yield Twice(load, first[1:], second[1:])


if __name__ == "__main__":
    main()
