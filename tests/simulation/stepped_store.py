"""A store of which each call is a step, and that fails as the seed has it (tests/faults.py).

A call fails before it was done or after, or answers for a part of its keys only. A slow one is on
its way for a while, and lands even if whoever sent it has died: a PUT behind its client's death, a
delete behind its collector's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mediastore.chunkstore.copies import held_size
from mediastore.chunkstore.protocol import ChunkStore, DeleteResult, Entry, Versioned
from mediastore.errors import ChunkStoreUnavailable
from tests.faults import Fault, FaultyStore
from tests.simulation.processes import WORLD, current_process
from tests.simulation.stepping import Stepper

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreFaults:
    """Shares of all calls."""

    before: float = 0.0
    after: float = 0.0
    slow: float = 0.0
    partial: float = 0.0


class SeededFaults(FaultyStore):
    """Draws the faults that no test has scripted."""

    def __init__(self, store: ChunkStore, stepper: Stepper, faults: StoreFaults) -> None:
        super().__init__(store)
        self.faults = faults
        self._stepper = stepper

    def _next(self, operation: str, key: str) -> Fault | None:
        scripted = super()._next(operation, key)
        if scripted is not None:
            return scripted
        if self._stepper.chance(self.faults.before):
            self._stepper.say("is told to slow down")
            return Fault(before=ChunkStoreUnavailable("503 SlowDown"))
        if self._stepper.chance(self.faults.after):
            self._stepper.say("gets no answer")
            return Fault(after=ChunkStoreUnavailable("the connection was reset"))
        if operation == "delete_many" and self._stepper.chance(self.faults.partial):
            kept = [each for each in key.split(" ") if self._stepper.chance(0.5)]
            self._stepper.say(f"keeps {len(kept)} keys")
            return Fault(undeleted=frozenset(kept))
        return None


class SteppedStore:
    """Every call to the store is a step."""

    def __init__(self, store: SeededFaults, stepper: Stepper) -> None:
        self._store = store
        self._stepper = stepper
        self._landing: set[asyncio.Task[None]] = set()
        self.late: set[str] = set()
        """Keys that were on their way for a while: they may land when they are not wanted."""

        self.put_keys: set[str] = set()
        self.put_bytes = self.deleted_bytes = 0

    def heal(self) -> None:
        """No more faults."""
        self._store.faults = StoreFaults()

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        async def call() -> None:
            await self._store.put(key, body, crc32=crc32)
            self.put_bytes += len(body)
            self.put_keys.add(key)

        await self._step(f"PUT {_short(key)}", call, lands_late=lambda: self.late.add(key))

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        return await self._step(
            f"PUT {key} if", lambda: self._store.put_if(key, body, version=version)
        )

    async def get(self, key: str) -> bytes:
        return await self._step(f"GET {_short(key)}", lambda: self._store.get(key))

    async def get_versioned(self, key: str) -> Versioned:
        return await self._step(f"GET {key}", lambda: self._store.get_versioned(key))

    async def head(self, key: str) -> Entry:
        return await self._step(f"HEAD {_short(key)}", lambda: self._store.head(key))

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        names = " ".join(map(_short, keys))

        async def call() -> list[DeleteResult]:
            sizes = {key: await held_size(self._store.store, key) or 0 for key in keys}
            fates = await self._store.delete_many(keys)
            self.deleted_bytes += sum(sizes[fate.key] for fate in fates if fate.deleted)
            return fates

        return await self._step(f"DELETE {names}", call)

    async def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        async for page in self._store.store.list(prefix=prefix, after=after):
            await self._stepper.pause()
            yield page

    async def check(self) -> None:
        await self._store.check()

    async def close(self) -> None:
        await self._store.close()

    async def _step(
        self,
        label: str,
        call: Callable[[], Awaitable[T]],
        lands_late: Callable[[], None] = lambda: None,
    ) -> T:
        async with self._stepper.turn(label):
            slow = current_process.get() is not WORLD and self._stepper.chance(
                self._store.faults.slow
            )
            if not slow:
                return await call()
            self._stepper.say("is slow")
            lands_late()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        landing = WORLD.spawn(self._land(label, call, answer))
        self._landing.add(landing)
        landing.add_done_callback(self._landing.discard)
        return await asyncio.shield(answer)

    async def _land(
        self, label: str, call: Callable[[], Awaitable[T]], answer: "asyncio.Future[T]"
    ) -> None:
        await self._stepper.pauses(1, 30)
        async with self._stepper.turn(f"{label} lands"):
            try:
                answer.set_result(await call())
            except Exception as error:  # noqa: BLE001  (it is the caller's)
                answer.set_exception(error)
                answer.exception()  # maybe nobody asks any more


def _short(key: str) -> str:
    """Enough of a chunk's key to tell it from others."""
    _, hash_, generation = key.split("/")
    return f"{hash_[:6]}/{generation[:6]}"
