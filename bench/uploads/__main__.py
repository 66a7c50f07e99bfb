"""`python -m bench.uploads`: mediastore, tusd and @tus/server take turns on one MinIO, near and
farther off.

Farther off is 20 ms on every S3 answer. Needs minio, tusd, node and toxiproxy, and `npm ci` in
bench/uploads/node. Writes its section of docs/performance.md.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack

from bench.processes import end_on_sigterm
from bench.report import write_section
from bench.uploads.measure import LOADS, Load, rounds
from bench.uploads.section import Measured, section
from bench.uploads.servers import LATENCY_MS, World, mediastore, tus_node, tusd, tusd_bare, world
from mediastore.settings import KIB

PEERS = (tusd, tusd_bare, tus_node)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-max-kib", type=int, help="only sizes up to this")
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    end_on_sigterm()
    loads: Sequence[Load] = LOADS
    if options.size_max_kib is not None:
        loads = [load for load in LOADS if load.size <= options.size_max_kib * KIB]
    with world() as made:
        measured = [
            _measure(made, latency_ms, loads, options.rounds) for latency_ms in (0, LATENCY_MS)
        ]
    body = section(measured, options.rounds)
    print(body)
    if not options.dry:
        write_section("uploads", body)


def _measure(made: World, latency_ms: int, loads: Sequence[Load], count: int) -> Measured:
    """Everything at one distance from the store; all servers started anew."""
    with ExitStack() as stack:
        url = stack.enter_context(made.store_url(latency_ms))
        ours = stack.enter_context(mediastore(made.folder, url, made.postgres))
        theirs = [stack.enter_context(start(made.folder, url)) for start in PEERS]
        cells = [
            *rounds([ours, *theirs], loads, 1, count=count),
            *rounds([ours, theirs[0]], loads, 2, count=count),
        ]
        return Measured(latency_ms, cells)


if __name__ == "__main__":
    main()
