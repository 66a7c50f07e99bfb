"""The directory driver: chunks as files, for one machine or a shared file system with flock.

- A put is durable when it returns: written aside, fsynced, renamed, its folders fsynced.
- Conditional puts are atomic between processes: version and body are one file, compared and
  replaced under flock; versions are random, so an old one never comes back (no ABA).
- Blocking calls run in the store's own bounded threads. A cancelled put may still happen: an
  orphan, never a loss (INV-11).
- When the folder goes away its calls are unavailable; when it is back they work again.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from mediastore.chunkstore.directory_files import ChunkFiles, DocumentsLocked, reason
from mediastore.chunkstore.keys import is_document_key, require_document_key, require_key
from mediastore.chunkstore.protocol import DELETE_KEYS_MAX, DeleteResult, Entry, Versioned
from mediastore.clock import Clock
from mediastore.content import checksum
from mediastore.errors import ChunkStoreUnavailable, StorageFull

_T = TypeVar("_T")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LOCK_TRIES_MAX = 500
_LOCK_PAUSE_SECONDS = 0.01


async def open_directory(root: Path, clock: Clock, *, threads_max: int) -> "DirectoryChunkStore":
    """The store in `root`, made if it is new; sweeps what crashed writers left.

    Raises ChunkStoreUnavailable, StorageFull.
    """
    store = DirectoryChunkStore(root, clock, threads_max=threads_max)
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store


class DirectoryChunkStore:
    """Made by `open_directory`."""

    def __init__(self, root: Path, clock: Clock, *, threads_max: int) -> None:
        self._clock = clock
        self._files = ChunkFiles(root)
        self._threads = ThreadPoolExecutor(threads_max, thread_name_prefix="chunkstore")

    async def prepare(self) -> None:
        """Make the folder if it is new, and sweep it."""
        await self._run("open", partial(self._files.prepare, self._clock.now()))

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        require_key(key)
        if checksum.crc32(body) != crc32:
            raise ChunkStoreUnavailable("the body does not have the CRC-32 it was sent with")
        if is_document_key(key):
            await self._locked("put", partial(self._files.put_document, key, body))
        else:
            await self._run("put", partial(self._files.put_chunk, key, body))

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        require_document_key(key)
        return await self._locked(
            "put_if", partial(self._files.put_document_if, key, body, version)
        )

    async def get(self, key: str) -> bytes:
        if is_document_key(key):
            return (await self.get_versioned(key)).body
        require_key(key)
        return await self._run("get", partial(self._files.read, key))

    async def get_versioned(self, key: str) -> Versioned:
        require_document_key(key)
        return await self._run("get_versioned", partial(self._files.read_document, key))

    async def head(self, key: str) -> Entry:
        require_key(key)
        return await self._run("head", partial(self._files.head, key))

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        if len(keys) > DELETE_KEYS_MAX:
            raise ValueError(f"at most {DELETE_KEYS_MAX} keys at once")
        for key in keys:
            require_key(key)
        fates = await self._run("delete_many", partial(self._files.delete, keys))
        return [DeleteResult(key, fates[key]) for key in keys]

    async def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        more: str | None = after
        while more is not None:
            page, more = await self._run("list", partial(self._files.page, prefix, more))
            if page:
                yield page

    async def check(self) -> None:
        await self._run("check", self._files.probe)

    async def close(self) -> None:
        """Waits for calls under way."""
        await asyncio.to_thread(self._threads.shutdown, wait=True)

    async def _run(self, operation: str, work: Callable[[], _T]) -> _T:
        with _translated(operation):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _locked(self, operation: str, work: Callable[[], _T]) -> _T:
        """`work` under the documents' lock; waits here, because a blocked thread is one less."""
        for _ in range(_LOCK_TRIES_MAX):
            try:
                return await self._run(operation, partial(self._files.locked, work))
            except DocumentsLocked:
                await self._clock.sleep(_LOCK_PAUSE_SECONDS)
        raise ChunkStoreUnavailable("another process keeps the chunk store's documents locked")


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    """The driver's one door: every OSError becomes ours. Messages carry no paths."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull from error
        raise ChunkStoreUnavailable(
            f"the chunk store's folder failed {operation}: {reason(error)}"
        ) from error
