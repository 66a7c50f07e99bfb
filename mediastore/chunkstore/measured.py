"""A wrapper that measures what callers of the chunk store see: outcomes, seconds, bytes.

Names and labels are documented in docs/metrics.md. Label values are fixed sets: no keys.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Histogram

from mediastore.chunkstore.pages import pages_of
from mediastore.chunkstore.protocol import (
    ChunkStore,
    ConditionFailed,
    DeleteResult,
    Entry,
    MissingKey,
    Versioned,
)
from mediastore.clock import Clock
from mediastore.errors import ChunkStoreUnavailable, Overloaded, StorageFull

OPERATIONS = (
    "put", "put_if", "get", "get_versioned", "head", "delete_many", "list", "check",
)  # fmt: skip
_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (MissingKey, "missing"),
    (ConditionFailed, "condition_failed"),
    (ChunkStoreUnavailable, "unavailable"),
    (StorageFull, "full"),
    (Overloaded, "overloaded"),
    (Exception, "error"),
    (BaseException, "cancelled"),
)
_BUCKETS_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
)  # fmt: skip


class ChunkStoreMetrics:
    """The chunk store's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "mediastore_chunk_store_calls",
            "Chunk store calls that ended, a page of a listing counting as one.",
            ["operation", "outcome"],
            registry=registry,
        )
        seconds = Histogram(
            "mediastore_chunk_store_call_seconds",
            "Seconds of a chunk store call, waiting for a place and retries included.",
            ["operation"],
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )
        moved = Counter(
            "mediastore_chunk_store_bytes",
            "Bytes of bodies put into (in) and got from (out) the chunk store.",
            ["direction"],
            registry=registry,
        )
        retries = Counter(
            "mediastore_chunk_store_retries",
            "Chunk store calls tried again.",
            ["operation"],
            registry=registry,
        )
        keys = Counter(
            "mediastore_chunk_store_delete_keys",
            "Keys of delete calls by what became of them.",
            ["outcome"],
            registry=registry,
        )
        # Children are looked up once: labels() takes a lock and builds a tuple at every call.
        self._succeeded = {name: self._calls.labels(name, "ok") for name in OPERATIONS}
        self._seconds = {name: seconds.labels(name) for name in OPERATIONS}
        self._retries = {name: retries.labels(name) for name in OPERATIONS}
        self.bytes_in = moved.labels("in")
        self.bytes_out = moved.labels("out")
        self.keys_deleted = keys.labels("ok")
        self.keys_failed = keys.labels("error")

    def count_retry(self, operation: str) -> None:
        self._retries[operation].inc()

    def count_call(self, operation: str, seconds: float, error: BaseException | None) -> None:
        self._seconds[operation].observe(seconds)
        if error is None:
            self._succeeded[operation].inc()
        else:
            outcome = next(name for kind, name in _OUTCOMES if isinstance(error, kind))
            self._calls.labels(operation, outcome).inc()


class _Call:
    """Times one call; a class because @contextmanager costs three times as much."""

    __slots__ = ("_clock", "_metrics", "_operation", "_started")

    def __init__(self, metrics: ChunkStoreMetrics, clock: Clock, operation: str) -> None:
        self._metrics = metrics
        self._clock = clock
        self._operation = operation

    def __enter__(self) -> None:
        self._started = self._clock.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._metrics.count_call(self._operation, self._clock.monotonic() - self._started, error)


class MeasuredChunkStore:
    """Passes every call on and counts it."""

    def __init__(self, store: ChunkStore, *, metrics: ChunkStoreMetrics, clock: Clock) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        with self._call("put"):
            await self._store.put(key, body, crc32=crc32)
        self._metrics.bytes_in.inc(len(body))

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        with self._call("put_if"):
            new_version = await self._store.put_if(key, body, version=version)
        self._metrics.bytes_in.inc(len(body))
        return new_version

    async def get(self, key: str) -> bytes:
        with self._call("get"):
            body = await self._store.get(key)
        self._metrics.bytes_out.inc(len(body))
        return body

    async def get_versioned(self, key: str) -> Versioned:
        with self._call("get_versioned"):
            document = await self._store.get_versioned(key)
        self._metrics.bytes_out.inc(len(document.body))
        return document

    async def head(self, key: str) -> Entry:
        with self._call("head"):
            return await self._store.head(key)

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        with self._call("delete_many"):
            results = await self._store.delete_many(keys)
        deleted = sum(result.deleted for result in results)
        self._metrics.keys_deleted.inc(deleted)
        self._metrics.keys_failed.inc(len(results) - deleted)
        return results

    async def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        async with aclosing(pages_of(self._store, prefix=prefix, after=after)) as pages:
            while True:
                with self._call("list"):
                    page = await anext(pages, None)
                if page is None:
                    return
                yield page

    async def check(self) -> None:
        with self._call("check"):
            await self._store.check()

    async def close(self) -> None:
        await self._store.close()

    def _call(self, operation: str) -> _Call:
        return _Call(self._metrics, self._clock, operation)
