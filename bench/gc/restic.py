"""restic's prune on tiny blobs, for comparison: the same amount of garbage beside more and more.

Every file is a blob of its own. The garbage is a snapshot of its own, written at once, so that its
packs hold nothing else and prune only has to find and remove them: the best case for restic.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import program

FILE_BYTES = 64
FOLDER_FILES = 1000
GARBAGE_FILES = 10_000
ENVIRONMENT = {"RESTIC_PASSWORD": "bench"}


@dataclass(frozen=True, slots=True)
class Pruned:
    """How long a prune took that found GARBAGE_FILES blobs beside `live` others."""

    live: int
    seconds: float


def prunes(folder: Path, sizes: Sequence[int]) -> list[Pruned]:
    """A prune at each size, in ascending order, of one repository that grows."""
    _restic(folder, "init")
    found, files = [], 0
    for size in sorted(sizes):
        _write(folder / "live", files, size)
        files = size
        _restic(folder, "backup", str(folder / "live"))
        _write(folder / "garbage", 0, GARBAGE_FILES)
        _restic(folder, "backup", "--tag", "garbage", str(folder / "garbage"))
        shutil.rmtree(folder / "garbage")
        _restic(folder, "forget", *_snapshots(folder))
        began = time.perf_counter()
        _restic(folder, "prune")
        found.append(Pruned(size, time.perf_counter() - began))
    return found


def version() -> str:
    return _restic(Path.cwd(), "version").split()[1]


def _snapshots(folder: Path) -> list[str]:
    """Those of garbage."""
    lines = _restic(folder, "list", "snapshots", "--quiet").split()
    return [name for name in lines if '"garbage"' in _restic(folder, "cat", "snapshot", name)]


def _write(folder: Path, first: int, end: int) -> None:
    for number in range(first, end):
        path = folder / str(number // FOLDER_FILES)
        if number % FOLDER_FILES == 0:
            path.mkdir(parents=True)
        (path / str(number)).write_bytes(os.urandom(FILE_BYTES))


def _restic(folder: Path, *arguments: str) -> str:
    command = [program("restic"), "--repo", str(folder / "repository"), *arguments]
    environment = {**os.environ, **ENVIRONMENT, "XDG_CACHE_HOME": str(folder / "cache")}
    finished = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return finished.stdout
