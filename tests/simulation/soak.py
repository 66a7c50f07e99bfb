"""`make soak`: new seeds, one behind the other, until stopped; or one again, with its trace.

python -m tests.simulation.soak [--minutes N] [SEED]
"""

import argparse
import itertools
import logging
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from mediastore.local.postgres import LocalPostgres
from tests.conftest import FORGETFUL, SYSTEM_POSTGRES, DatabaseServer
from tests.simulation.scenes import SCENES, Seed
from tests.simulation.worlds import Lived, live


@contextmanager
def database_server() -> Iterator[DatabaseServer]:
    """A Postgres of this run's own, unless $MEDIASTORE_TEST_POSTGRES names one."""
    if SYSTEM_POSTGRES:
        server = DatabaseServer(SYSTEM_POSTGRES)
        yield server
        server.close()
        return
    folder = Path(tempfile.mkdtemp(prefix="mediastore-soak-"))
    postgres = LocalPostgres(folder / "postgres", folder / "postgres.log", options=FORGETFUL)
    try:
        postgres.start()
        server = DatabaseServer(postgres.dsn("postgres"))
        yield server
        server.close()
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def run(server: DatabaseServer, seed: Seed) -> Lived:
    name = server.create()
    try:
        return live(seed, server.dsn(name))
    finally:
        server.drop(name)


def replay(server: DatabaseServer, seed: Seed) -> int:
    """Print every step; 1 if it is red."""
    try:
        lived = run(server, seed)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is what was looked for)
        traceback.print_exception(error)
        return 1
    print("\n".join(lived.trace))
    return 0


def soak(server: DatabaseServer, minutes: float) -> int:
    """Seeds that nobody has tried; 1 if any was red."""
    first, red, ran = secrets.randbelow(1_000_000_000), 0, 0
    until = time.monotonic() + minutes * 60
    try:
        for number in itertools.count(first):
            for scene in SCENES:
                if time.monotonic() >= until:
                    raise KeyboardInterrupt
                seed, ran = Seed(scene, number), ran + 1
                try:
                    lived = run(server, seed)
                    print(f"{seed}: {len(lived.trace)} steps, {lived.deleted_keys} keys deleted")
                except Exception as error:  # noqa: BLE001
                    red += 1
                    print(f"{seed} is red:")
                    traceback.print_exception(error, file=sys.stdout)
                    print(f"again: make soak WORLD={seed}", flush=True)
    except KeyboardInterrupt:
        print(f"{ran} seeds, {red} of them red.")
    return 1 if red else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("seed", nargs="?", type=Seed.named)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with database_server() as server:
        return soak(server, chosen.minutes) if chosen.seed is None else replay(server, chosen.seed)


if __name__ == "__main__":
    sys.exit(main())
