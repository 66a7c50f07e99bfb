"""Files that are whole or absent after a crash: write aside, fsync, rename, fsync the folder.

Blocking calls, for the directory driver's threads. OSError goes up: the driver translates it.
"""

import os
import secrets
from datetime import datetime
from pathlib import Path

SWEEP_AGE_SECONDS = 3600.0  # no write takes this long, so what is older is a crash's


class TemporaryFolder:
    """Where files are written before they get their name; on the same file system as those."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, *parts: bytes | memoryview) -> Path:
        """A new file of `parts`, on disk when this returns. The caller renames or removes it."""
        path = self._path / f"{os.getpid()}-{secrets.token_hex(8)}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            try:
                for part in parts:
                    _write_all(descriptor, part)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def sweep(self, now: datetime) -> int:
        """Remove what crashed writers left, and only that: others may be writing just now."""
        swept = 0
        with os.scandir(self._path) as found:
            for file in found:
                try:
                    if now.timestamp() - file.stat().st_mtime > SWEEP_AGE_SECONDS:
                        Path(file.path).unlink()
                        swept += 1
                except FileNotFoundError:  # another process sweeps too
                    continue
        return swept


def sync_folder(path: Path) -> None:
    """Make the names in `path` survive a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, body: bytes | memoryview) -> None:
    rest = memoryview(body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
