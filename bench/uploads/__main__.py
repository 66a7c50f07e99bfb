"""`python -m bench.uploads`: mediastore and tusd take turns on one MinIO, near and farther off.

Farther off is 20 ms on every S3 answer. Needs minio, tusd and toxiproxy. Writes its section of
docs/performance.md.
"""

import argparse
import asyncio
import tempfile
from contextlib import ExitStack, nullcontext
from pathlib import Path

from bench.postgres import local_postgres, make_database
from bench.processes import Server, delayed, end_on_sigterm, minio
from bench.report import write_section
from bench.uploads.measure import LOADS, Cell, again, rounds
from bench.uploads.section import Measured, section
from bench.uploads.servers import (
    DATABASE,
    MEDIASTORE_BUCKET,
    TUSD_BUCKET,
    Subject,
    mediastore,
    tusd,
)
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import MIB

LATENCY_MS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    end_on_sigterm()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-uploads-")))
        postgres = stack.enter_context(local_postgres(folder))
        asyncio.run(make_database(postgres, DATABASE))
        store = stack.enter_context(minio(folder, [MEDIASTORE_BUCKET, TUSD_BUCKET]))
        near = _measure(folder, store, postgres, 0, options.rounds)
        far = _measure(folder, store, postgres, LATENCY_MS, options.rounds)
    body = section([near, far], options.rounds)
    print(body)
    if not options.dry:
        write_section("uploads", body)


def _measure(
    folder: Path, store: Server, postgres: LocalPostgres, latency_ms: int, count: int
) -> Measured:
    """Everything at one distance from the store; both servers started anew."""
    with ExitStack() as stack:
        farther = delayed(folder, store, latency_ms) if latency_ms else nullcontext(store.url)
        url = stack.enter_context(farther)
        ours = stack.enter_context(mediastore(folder, url, postgres))
        subjects: list[Subject] = [ours, stack.enter_context(tusd(folder, url))]
        cells: list[Cell] = []
        for requests in (1, 2):
            cells += rounds(subjects, LOADS, requests, count=count)
        large = [load for load in LOADS if load.size >= 8 * MIB]
        return Measured(latency_ms, cells, list(again(ours, large, count=count)))


if __name__ == "__main__":
    main()
