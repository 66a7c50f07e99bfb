"""`python -m bench.origin`: GETs of one file at a time, warm, keep-alive, by wrk; servers take
turns.

Each server has the machine to itself while it is measured, the rounds alternate so that drift hits
all of them, and the median of the rounds is shown. Needs wrk and nginx. Writes its section of
docs/performance.md.
"""

import argparse
import statistics
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.origin.load import load
from bench.origin.servers import Target, targets
from bench.origin.sharing import Sharing, measure_sharing
from bench.report import machine, table, write_section

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Case:
    """A file, how many connections ask for it, and the least that mediastore is to reach."""

    file: str
    size: int
    connections: int
    least: Mapping[str, float]


CASES = (
    Case("16KiB", 16 * KIB, 32, {"bare": 0.7}),
    Case("1MiB", MIB, 16, {"nginx": 1.0}),
    Case("64MiB", 64 * MIB, 4, {"nginx": 1.0}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of one server in one round")
    parser.add_argument("--case", choices=[case.file for case in CASES], action="append")
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    cases = [case for case in CASES if options.case is None or case.file in options.case]
    files = {case.file: Random(case.file).randbytes(case.size) for case in cases}
    with tempfile.TemporaryDirectory(prefix="bench-origin-") as folder:
        with targets(Path(folder), files) as servers:
            _check(servers, files)
            rates = {
                case.file: _measure(servers, case, options.rounds, options.seconds)
                for case in cases
            }
            sharing = measure_sharing(
                Path(folder), servers["signed"], cases[0].file, options.rounds, options.seconds
            )
    body = _section(cases, rates, servers, options.rounds, options.seconds) + _shared(sharing)
    print(body)
    if not options.dry:
        write_section("origin", body)


def _check(servers: Mapping[str, Target], files: Mapping[str, bytes]) -> None:
    """Every server answers with the same bytes; this also warms them."""
    for target in servers.values():
        for name, content in files.items():
            request = urllib.request.Request(target.url(name), headers=dict(target.headers))
            with urllib.request.urlopen(request, timeout=60) as response:
                if response.read() != content:
                    raise SystemExit(f"{target.name} answered with other bytes for {name}")


def _measure(
    servers: Mapping[str, Target], case: Case, rounds: int, seconds: int
) -> dict[str, float]:
    """Median requests a second by server."""
    taken: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, target in servers.items():
            taken[name].append(
                load(target, case.file, connections=case.connections, seconds=seconds).rate
            )
    return {name: statistics.median(rates) for name, rates in taken.items()}


def _section(
    cases: list[Case],
    rates: Mapping[str, Mapping[str, float]],
    servers: Mapping[str, Target],
    rounds: int,
    seconds: int,
) -> str:
    rows = []
    for case in cases:
        of_case = rates[case.file]
        for name, target in servers.items():
            rate = of_case[name]
            least = case.least if name in {"signed", "media"} else {}
            rows.append(
                [
                    f"{case.file}, {target.name}",
                    f"{rate:,.0f}",
                    f"{rate * case.size / MIB:,.0f}",
                    _ratio(rate / of_case["bare"], least.get("bare")),
                    _ratio(rate / of_case["nginx"], least.get("nginx")),
                ]
            )
    head = ["GET, warm", "requests/s", "MiB/s", "of bare aiohttp", "of nginx"]
    return f"""\
## Origin: what one process serves from memory

`python -m bench.origin`. {machine()}. wrk, one thread, keep-alive,
{", ".join(f"{case.connections} connections at {case.file}" for case in cases)}; {rounds} rounds of
{seconds} s each in alternation, medians. mediastore with its default settings, access log and
metrics on; the bare handler is aiohttp on uvloop that returns the same bytes and does nothing else;
nginx has one worker, sendfile and its access log on. wrk runs on the same machine and takes part of
it. What is to be reached is in brackets, with `missed` where it was not.

{table(head, rows)}
"""


def _shared(sharing: Sharing) -> str:
    rows = [
        [str(count), f"{sharing.rates[count]:,.0f}", f"{cpu * 1e6:.1f}", f"{cpu / one:.2f}"]
        for one in [sharing.cpu_seconds[1]]
        for count, cpu in sharing.cpu_seconds.items()
    ]
    head = ["`--workers`", "requests/s", "CPU µs for each", "of one (2: ≤ 1.1)"]
    return f"""
What several processes behind one port cost, by signed links to 16 KiB, {sharing.connections}
connections: user and system time of all processes of the service for each request. With two, wrk
has no core for itself: what is compared is the cost, not the rate.

{table(head, rows)}
"""


def _ratio(value: float, least: float | None) -> str:
    if least is None:
        return f"{value:.2f}"
    return f"{value:.2f} (≥ {least:g}{'' if value >= least else ', missed'})"


if __name__ == "__main__":
    main()
