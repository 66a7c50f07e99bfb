"""Interleaves tasks one call at a time: every SQL statement and every store call is a step.

Exactly one call is under way; which one is next is chosen by a seed among the tasks that wait.
"""

import asyncio
import random
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import pytest

from mediastore.catalog import recount
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.protocol import ChunkStore, DeleteResult, Entry, Versioned

T = TypeVar("T")
# Turns of the loop that a task gets to reach its next call.
TURNS = 30


class Stepper:
    """Hands out turns."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self.steps = 0
        self._waiting: list[asyncio.Event] = []
        self._returned = asyncio.Event()
        self._free = False

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Wait for a turn, then do one call."""
        if self._free:
            return await work()
        turn = asyncio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:
                self._returned.set()
            raise
        try:
            return await work()
        finally:
            self._returned.set()

    async def pause(self) -> None:
        """A step that does nothing but let others go first."""
        await self.call(_nothing)

    async def run(
        self, tasks: Sequence["asyncio.Task[Any]"], between: Callable[[], Awaitable[None]]
    ) -> None:
        """Step until every task is done; `between` is called while nothing else runs.

        When something fails, everybody is cancelled, and cleans up without taking turns.
        """
        self._free = False
        try:
            while not all(task.done() for task in tasks):
                await self._step(between)
        finally:
            self._free = True
            for turn in self._waiting:
                turn.set()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _step(self, between: Callable[[], Awaitable[None]]) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if not self._waiting:
            await asyncio.sleep(0.001)
            return
        await between()
        self.steps += 1
        self._returned.clear()
        self._waiting.pop(self.choice.randrange(len(self._waiting))).set()
        await self._returned.wait()


class SteppedCatalog(Catalog):
    """Every statement is a step; a connection for several statements is handed out in one."""

    def __init__(self, catalog: Catalog, stepper: Stepper) -> None:
        self._catalog = catalog
        self._stepper = stepper

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._stepper.call(lambda: self._catalog.fetch(query, *arguments))

    async def fetch_row(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        return await self._stepper.call(lambda: self._catalog.fetch_row(query, *arguments))

    async def fetch_row_patiently(
        self, query: str, *arguments: Any, timeout_seconds: float
    ) -> asyncpg.Record | None:
        return await self.fetch_row(query, *arguments)

    async def fetch_value(self, query: str, *arguments: Any) -> Any:
        return await self._stepper.call(lambda: self._catalog.fetch_value(query, *arguments))

    async def execute(self, query: str, *arguments: Any) -> None:
        await self._stepper.call(lambda: self._catalog.execute(query, *arguments))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        await self._stepper.pause()
        async with self._catalog.connection() as connection:
            yield connection

    def statement(self, query: str) -> str:
        return self._catalog.statement(query)


class SteppedStore:
    """Every call to the store is a step."""

    def __init__(self, store: ChunkStore, stepper: Stepper) -> None:
        self._store = store
        self._stepper = stepper

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        await self._stepper.call(lambda: self._store.put(key, body, crc32=crc32))

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        return await self._stepper.call(lambda: self._store.put_if(key, body, version=version))

    async def get(self, key: str) -> bytes:
        return await self._stepper.call(lambda: self._store.get(key))

    async def get_versioned(self, key: str) -> Versioned:
        return await self._stepper.call(lambda: self._store.get_versioned(key))

    async def head(self, key: str) -> Entry:
        return await self._stepper.call(lambda: self._store.head(key))

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        return await self._stepper.call(lambda: self._store.delete_many(keys))

    async def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        async for page in self._store.list(prefix=prefix, after=after):
            await self._stepper.pause()
            yield page

    async def check(self) -> None:
        await self._store.check()

    async def close(self) -> None:
        await self._store.close()


async def crash_now_and_then(
    stepper: Stepper, stop: asyncio.Event, work: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """`work` again and again until `stop`; three times in ten it dies at a step of its own."""
    while not stop.is_set():
        task = asyncio.create_task(work())
        if stepper.choice.random() < 0.3:
            for _ in range(stepper.choice.randint(1, 40)):
                await stepper.pause()
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        await stepper.pause()


async def run_until_done(
    stepper: Stepper,
    stop: asyncio.Event,
    acting: Sequence["asyncio.Task[Any]"],
    others: Sequence["asyncio.Task[Any]"],
    between: Callable[[], Awaitable[None]],
) -> None:
    """Step until those who act are done; then the others are told to `stop`, and end as well."""

    async def stop_when_they_are_done() -> None:
        await asyncio.wait(acting)
        stop.set()

    tasks = [*acting, *others, asyncio.create_task(stop_when_they_are_done())]
    await stepper.run(tasks, between)
    for task in tasks:
        task.result()


def step_recounts(monkeypatch: pytest.MonkeyPatch, stepper: Stepper) -> None:
    """Every page that a recount reads is a step."""
    for reader in (
        "doomed_pages",
        "upload_chunk_pages",
        "unlinking_pieces",
        "manifest_pieces",
        "tombstone_pieces",
    ):
        monkeypatch.setattr(recount, reader, _stepped_pages(stepper, getattr(recount, reader)))


def _stepped_pages(
    stepper: Stepper, real: Callable[..., AsyncGenerator[T, None]]
) -> Callable[..., AsyncGenerator[T, None]]:
    """A reader of the recount that pauses behind each page, its snapshot held meanwhile."""

    async def pages(*arguments: Any, **named: Any) -> AsyncGenerator[T, None]:
        async for page in real(*arguments, **named):
            await stepper.pause()
            yield page

    return pages


async def _nothing() -> None:
    return None
