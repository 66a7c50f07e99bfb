"""Where chunks of slow readers wait: unlinked files, written and read by a few threads of their
own.

The directory is bounded by `SPOOL_MAX_BYTES`; a chunk that finds no room stays in memory and is
counted there. A file is gone with its last reader, and with the process, however it ends.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from mediastore.errors import StorageFull, Unavailable

Result = TypeVar("Result")
THREADS_MAX = 4
SPOOL_MAX_BYTES = 16 * 1024**3


class SpoolFile:
    """One chunk on disk. `close` may be called while nobody reads."""

    def __init__(self, spool: "Spool", descriptor: int, size: int) -> None:
        self._spool = spool
        self._descriptor = descriptor
        self.size = size

    async def read(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end`. Raises Unavailable when the disk does not give them back."""
        try:
            data = await self._spool.run(os.pread, self._descriptor, end - start, start)
        except OSError as error:
            raise Unavailable(f"a spooled chunk cannot be read: {error}") from None
        if len(data) != end - start:
            raise Unavailable("a spooled chunk is shorter than it was written")
        return data

    def close(self) -> None:
        os.close(self._descriptor)
        self._spool.forget(self.size)


class Spool:
    """Makes spool files in `directory`, the system's for temporary files without one."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="spool")
        self.held_bytes = 0

    async def write(self, data: bytes) -> SpoolFile:
        """A file of `data`. Raises StorageFull, OSError. A cancelled caller would leak the file."""
        if self.held_bytes + len(data) > SPOOL_MAX_BYTES:
            raise StorageFull("no room to spool for slow readers")
        self.held_bytes += len(data)
        try:
            descriptor = await self.run(_write, self._directory, data)
        except BaseException:
            self.held_bytes -= len(data)
            raise
        return SpoolFile(self, descriptor, len(data))

    def forget(self, size: int) -> None:
        self.held_bytes -= size

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run blocking file work on the spool's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        self._threads.shutdown(wait=True)


def _write(directory: Path | None, data: bytes) -> int:
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        return os.dup(file.fileno())
