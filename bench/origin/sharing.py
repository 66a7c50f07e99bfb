"""What a request costs when several processes share the port: CPU, with one worker and with two."""

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.origin.load import load
from bench.origin.servers import Target, workers

COUNTS = (1, 2)
CONNECTIONS = 64  # the kernel shares them out by chance: with few, one worker might have most


@dataclass(frozen=True, slots=True)
class Sharing:
    """By number of workers: CPU seconds for each request, and requests a second; medians."""

    cpu_seconds: Mapping[int, float]
    rates: Mapping[int, float]
    connections: int


def measure_sharing(folder: Path, target: Target, file: str, rounds: int, seconds: int) -> Sharing:
    """`target` says what to ask for; services of their own answer, in turns."""
    spent: dict[int, list[float]] = {count: [] for count in COUNTS}
    rates: dict[int, list[float]] = {count: [] for count in COUNTS}
    with ExitStack() as stack:
        targets = {
            count: replace(target, server=stack.enter_context(workers(folder, count)))
            for count in COUNTS
        }
        for asked in targets.values():
            load(asked, file, connections=CONNECTIONS, seconds=1)  # every worker has it in memory
        for _ in range(rounds):
            for count, asked in targets.items():
                before = asked.server.cpu_seconds()
                done = load(asked, file, connections=CONNECTIONS, seconds=seconds)
                spent[count].append((asked.server.cpu_seconds() - before) / done.requests)
                rates[count].append(done.rate)
    return Sharing(
        {count: statistics.median(taken) for count, taken in spent.items()},
        {count: statistics.median(taken) for count, taken in rates.items()},
        CONNECTIONS,
    )
