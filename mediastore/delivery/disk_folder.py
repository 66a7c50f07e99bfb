"""Chunks in a folder of the local disk, for all processes that name the same one.

    DIR/chunks/ab/<hash>     a chunk, named by its BLAKE3
    DIR/new/<random>-<cost>  one that is being written, and what is set aside for it
    DIR/held                 what all of these take, 8 bytes; who changes it holds a lock on it

What is read is verified against its name (INV-9), so nothing here has to be believed or synced: a
file that a crash has cut is found by its hash, and goes. Bytes are set aside under the lock before
they are written, so the folder never takes more than its limit. Whoever finds no room removes what
was used longest ago, down to `LOW_SHARE` of the limit. Only files of these names are ever removed.
"""

import fcntl
import os
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Final

from mediastore.clock import Clock
from mediastore.content.hashing import BlobHasher

LOW_SHARE: Final = 0.9
BLOCK_BYTES: Final = 4096
USED_SECONDS: Final = 600.0  # how exactly it is noted when a chunk was last used
ABANDONED_SECONDS: Final = 600.0  # a file that is still being written after this never will be
_TOTAL: Final = struct.Struct("<q")
_HASH_NAME: Final = re.compile(r"[0-9a-f]{64}")
_NEW_NAME: Final = re.compile(r"[0-9a-f]{16}-([0-9]+)")


class DamagedFile(Exception):
    """A file that is not what its name says; it was removed."""


@dataclass(frozen=True, slots=True)
class _Kept:
    used_at: float
    written_at: float
    cost: int
    path: Path


class DiskFolder:
    """For threads: every method waits for the disk, and may raise OSError."""

    def __init__(
        self, directory: Path, *, limit_bytes: int, seconds_max: float, clock: Clock
    ) -> None:
        self._chunks = directory / "chunks"
        self._new = directory / "new"
        self._limit_bytes = limit_bytes
        self._seconds_max = seconds_max
        self._clock = clock
        self._mutex = threading.Lock()  # a file's lock is the process's, not the thread's
        for folder in (directory, self._chunks, self._new):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = os.open(directory / "held", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        os.close(self._held)

    def read(self, hash_: bytes, size: int) -> bytes | None:
        """The chunk, verified; None if it is not here. Raises DamagedFile."""
        path = self._path(hash_)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            data = _read(descriptor, size)
            used_at = os.fstat(descriptor).st_atime
        finally:
            os.close(descriptor)
        if data is None or _hash(data) != hash_:
            self._remove(path)
            raise DamagedFile
        self._note_use(path, used_at)
        return data

    def write(self, hash_: bytes, data: bytes) -> bool:
        """Keep a verified chunk; False if it is here already, or there is no room for it."""
        path, cost = self._path(hash_), cost_of(len(data))
        if cost > self._limit_bytes * LOW_SHARE or path.exists():
            return False
        new = self._new / f"{token_hex(8)}-{cost}"
        with self._locked() as held:
            if held.total + cost > self._limit_bytes:
                held.total = self._swept(int(self._limit_bytes * LOW_SHARE) - cost)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            held.total += cost
        try:
            try:
                _write(descriptor, data)
            finally:
                os.close(descriptor)
            now = self._clock.now().timestamp()
            os.utime(new, (now, now))
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with self._locked():  # who counts meanwhile would count it under both names
                if not path.exists():
                    new.rename(path)
                    return True
        except BaseException:
            self._remove(new, cost)
            raise
        self._remove(new, cost)  # another process was quicker
        return False

    def sweep(self) -> int:
        """Remove what is too old or too much, and count the rest anew: what all of it takes."""
        with self._locked() as held:
            held.total = self._swept(self._limit_bytes)
            return held.total

    def _swept(self, most: int) -> int:
        """Remove what is too old, and what was used longest ago beyond `most` bytes; what is left.

        To be called under the lock.
        """
        total = self._being_written()
        oldest = self._clock.now().timestamp() - self._seconds_max
        young = []
        for kept in self._kept():
            if kept.written_at < oldest:
                kept.path.unlink(missing_ok=True)
            else:
                young.append(kept)
                total += kept.cost
        for kept in sorted(young, key=lambda kept: kept.used_at):
            if total <= most:
                break
            kept.path.unlink(missing_ok=True)
            total -= kept.cost
        return total

    def _kept(self) -> Iterator[_Kept]:
        for folder in os.scandir(self._chunks):
            if len(folder.name) != 2 or not folder.is_dir(follow_symlinks=False):
                continue
            for entry in os.scandir(folder.path):
                if _HASH_NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):  # a reader has removed it
                        stat = entry.stat(follow_symlinks=False)
                        cost = cost_of(stat.st_size)
                        yield _Kept(stat.st_atime, stat.st_mtime, cost, Path(entry.path))

    def _being_written(self) -> int:
        total = 0
        given_up = self._clock.now().timestamp() - ABANDONED_SECONDS
        for entry in os.scandir(self._new):
            named = _NEW_NAME.fullmatch(entry.name)
            if named is None:
                continue
            with suppress(FileNotFoundError):  # it has got its name, and is counted there
                if entry.stat(follow_symlinks=False).st_mtime < given_up:
                    Path(entry.path).unlink(missing_ok=True)
                else:
                    total += int(named[1])
        return total

    def _note_use(self, path: Path, used_at: float) -> None:
        now = self._clock.now().timestamp()
        if abs(now - used_at) > USED_SECONDS:
            with suppress(FileNotFoundError):
                os.utime(path, (now, path.stat().st_mtime))

    def _remove(self, path: Path, cost: int | None = None) -> None:
        """Also what another process has removed meanwhile, which has counted it."""
        with self._locked() as held, suppress(FileNotFoundError):
            if cost is None:
                cost = cost_of(path.stat().st_size)
            path.unlink()
            held.total = max(0, held.total - cost)

    def _path(self, hash_: bytes) -> Path:
        name = hash_.hex()
        return self._chunks / name[:2] / name

    @contextmanager
    def _locked(self) -> Iterator["_Held"]:
        """What is held, for one thread of one process to change."""
        with self._mutex:
            fcntl.flock(self._held, fcntl.LOCK_EX)
            try:
                held = self._read_held()
                was = held.total
                try:
                    yield held
                finally:
                    if held.total != was:
                        os.pwrite(self._held, _TOTAL.pack(held.total), 0)
            finally:
                fcntl.flock(self._held, fcntl.LOCK_UN)

    def _read_held(self) -> "_Held":
        written = os.pread(self._held, _TOTAL.size, 0)
        return _Held(_TOTAL.unpack(written)[0] if len(written) == _TOTAL.size else 0)


@dataclass(slots=True)
class _Held:
    total: int


def cost_of(size: int) -> int:
    """What a file takes of the disk."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _read(descriptor: int, size: int) -> bytes | None:
    """The whole file; None if it has another size."""
    data = os.pread(descriptor, size + 1, 0)
    while len(data) < size:
        more = os.pread(descriptor, size + 1 - len(data), len(data))
        if not more:
            return None
        data += more
    return data if len(data) == size else None


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _hash(data: bytes) -> bytes:
    hasher = BlobHasher()
    hasher.update(data)
    return hasher.digest()
