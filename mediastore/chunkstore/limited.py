"""A wrapper that bounds how many calls are under way at once, and how many may wait for a place.

A listing holds a place only while a page is fetched, so a slow consumer of pages blocks nobody.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from types import TracebackType

from mediastore.chunkstore.pages import pages_of
from mediastore.chunkstore.protocol import ChunkStore, DeleteResult, Entry, Versioned
from mediastore.errors import Overloaded


class _Places:
    """A semaphore with a bounded queue; entering raises Overloaded when the queue is full."""

    def __init__(self, concurrency_max: int, waiting_max: int) -> None:
        self._free = asyncio.Semaphore(concurrency_max)
        self._waiting_max = waiting_max
        self._waiting = 0

    async def __aenter__(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting >= self._waiting_max:
            raise Overloaded("too many calls are waiting for the chunk store; try again")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._free.release()


class LimitedChunkStore:
    """Passes on at most `concurrency_max` calls at a time, first come, first served."""

    def __init__(self, store: ChunkStore, *, concurrency_max: int, waiting_max: int) -> None:
        self._store = store
        self._places = _Places(concurrency_max, waiting_max)

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        async with self._places:
            await self._store.put(key, body, crc32=crc32)

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        async with self._places:
            return await self._store.put_if(key, body, version=version)

    async def get(self, key: str) -> bytes:
        async with self._places:
            return await self._store.get(key)

    async def get_versioned(self, key: str) -> Versioned:
        async with self._places:
            return await self._store.get_versioned(key)

    async def head(self, key: str) -> Entry:
        async with self._places:
            return await self._store.head(key)

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        async with self._places:
            return await self._store.delete_many(keys)

    async def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        async with aclosing(pages_of(self._store, prefix=prefix, after=after)) as pages:
            while True:
                async with self._places:
                    page = await anext(pages, None)
                if page is None:
                    return
                yield page

    async def check(self) -> None:
        async with self._places:
            await self._store.check()

    async def close(self) -> None:
        await self._store.close()
