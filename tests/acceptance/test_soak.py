"""Hard use of the whole: under load, with everything that goes wrong, nothing acknowledged is lost,
no request fails by a collector's fault, and what nobody needs is really gone (INV-1 to INV-7).

A seed repeats a run ($MEDIASTORE_TEST_SEED); `make soak-faults` makes long ones.
"""

import subprocess
from pathlib import Path

import pytest

from bench.processes import minio
from tests.acceptance.conftest import chunk_files, s3_store
from tests.acceptance.content import MIB
from tests.acceptance.keys import bucket_keys
from tests.acceptance.soak import ROUNDS, SEED, HowToEnd, network_faults, soak
from tests.acceptance.test_outages import mounted, needs_root
from tests.acceptance.toxiproxy import toxiproxy

pytestmark = [pytest.mark.full, pytest.mark.timeout(900 + 60 * ROUNDS)]


def test_collectors_that_die_are_noticed_by_nobody(folder: Path) -> None:
    """quay#6318's soak: there, 40 of 104,135 requests failed in 481 collections. The services run
    through, so here not one may fail, whatever becomes of the collectors.
    """
    with (
        minio(folder, ["bucket"]) as store,
        soak(folder, SEED, **s3_store(store.url)) as world,
    ):
        world.run([world.all_is_well], [world.kill_a_collector], rounds=6, patient=False)
        assert world.tally.counts["refused"] == 0
        print(world.summary())
        world.settle(lambda: bucket_keys(store.url))


def test_kills_and_cut_connections_lose_nothing(folder: Path) -> None:
    with (
        minio(folder, ["bucket"]) as store,
        toxiproxy(folder, store.port) as way,
        soak(folder, SEED, **s3_store(way.url)) as world,
    ):
        faults = [*network_faults(way), *network_faults(world.catalog)]
        victims = [world.kill_a_server, world.kill_a_collector, world.crash_postgres]
        world.run(faults, victims, rounds=len(faults), patient=True)
        print(world.summary())
        world.settle(lambda: bucket_keys(store.url))


@needs_root
def test_a_full_disk_loses_nothing(folder: Path) -> None:
    """A chunk folder on a small file system of its own, which fills up again and again."""
    disk = folder / "disk"
    filler = disk / "filler"

    def fill() -> HowToEnd:
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}"], capture_output=True, check=False)
        return lambda: filler.unlink(missing_ok=True)

    with mounted(disk, 64 * MIB):
        chunks = disk / "chunks"
        with soak(folder, SEED, driver="directory", directory=str(chunks)) as world:
            victims = [world.all_is_well, world.kill_a_server, world.kill_a_collector]
            world.run([fill], victims, rounds=4, patient=True)
            assert "storage_full" in "".join(server.whole_log() for server in world.servers)
            print(world.summary())
            world.settle(lambda: {file_key(path) for path in chunk_files(chunks)})


def file_key(path: Path) -> str:
    """The key of a chunk that a file holds."""
    hash_, _, generation = path.name.partition(".")
    return f"chunks/{hash_}/{generation}"
