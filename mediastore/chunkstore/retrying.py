"""A wrapper that tries again what failed with ChunkStoreUnavailable, and nothing else.

Pauses are exponential with full jitter: uniform between nothing and a ceiling that doubles, so
that callers that failed together do not come back together. Every call here may be repeated: a
put replaces, a delete of an absent key succeeds, a listing goes on behind the last key it gave.
Of a conditional put whose answer was lost, the repeat raises ConditionFailed (see the protocol).
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from mediastore.chunkstore.pages import pages_of
from mediastore.chunkstore.protocol import ChunkStore, DeleteResult, Entry, Versioned
from mediastore.clock import Clock
from mediastore.errors import ChunkStoreUnavailable

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a call is tried again."""

    attempts_max: int
    delay_seconds: float  # the mean of the first pause
    delay_max_seconds: float

    def pause_seconds(self, attempts: int, jitter: random.Random) -> float:
        """The pause after `attempts` failed attempts (1 or more)."""
        # min first: 2.0 ** attempts overflows before attempts does
        doublings = min(attempts, 64)
        ceiling = min(self.delay_max_seconds, self.delay_seconds * 2.0**doublings)
        return jitter.uniform(0, ceiling)


class RetryingChunkStore:
    """Passes every call on, up to `policy.attempts_max` times.

    `jitter` is injected so that tests choose the pauses; `on_retry(operation)` is called before
    each pause, for metrics.
    """

    def __init__(
        self,
        store: ChunkStore,
        *,
        policy: RetryPolicy,
        clock: Clock,
        jitter: random.Random,
        on_retry: Callable[[str], None] = lambda _operation: None,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._on_retry = on_retry

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        await self._retried("put", lambda: self._store.put(key, body, crc32=crc32))

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        return await self._retried("put_if", lambda: self._store.put_if(key, body, version=version))

    async def get(self, key: str) -> bytes:
        return await self._retried("get", lambda: self._store.get(key))

    async def get_versioned(self, key: str) -> Versioned:
        return await self._retried("get_versioned", lambda: self._store.get_versioned(key))

    async def head(self, key: str) -> Entry:
        return await self._retried("head", lambda: self._store.head(key))

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """Only keys that failed are sent again; what is still failing at the end is reported."""
        fates: dict[str, DeleteResult] = {}
        pending = list(dict.fromkeys(keys))
        attempts = 0
        while True:
            attempts += 1
            try:
                fates.update((fate.key, fate) for fate in await self._store.delete_many(pending))
            except ChunkStoreUnavailable as error:
                if attempts >= self._policy.attempts_max and not fates:
                    raise
                if attempts >= self._policy.attempts_max:
                    fates.update((key, DeleteResult(key, str(error))) for key in pending)
            pending = [key for key in pending if key not in fates or not fates[key].deleted]
            if not pending or attempts >= self._policy.attempts_max:
                return [fates[key] for key in keys]
            await self._pause("delete_many", attempts)

    async def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        attempts = 0
        while True:
            try:
                async with aclosing(pages_of(self._store, prefix=prefix, after=after)) as pages:
                    async for page in pages:
                        attempts = 0
                        yield page
                        if page:
                            after = page[-1].key
                return
            except ChunkStoreUnavailable:
                attempts += 1
                if attempts >= self._policy.attempts_max:
                    raise
            await self._pause("list", attempts)

    async def check(self) -> None:
        """Not tried again: readiness asks often, and wants to know about now."""
        await self._store.check()

    async def close(self) -> None:
        await self._store.close()

    async def _retried(self, operation: str, call: Callable[[], Awaitable[_T]]) -> _T:
        attempts = 0
        while True:
            try:
                return await call()
            except ChunkStoreUnavailable:
                attempts += 1
                if attempts >= self._policy.attempts_max:
                    raise
            await self._pause(operation, attempts)

    async def _pause(self, operation: str, attempts: int) -> None:
        self._on_retry(operation)
        await self._clock.sleep(self._policy.pause_seconds(attempts, self._jitter))
