"""One batch of chunks: intent, PUT, commit (INV-1, INV-2, INV-8, INV-11).

The rows are written before the bytes, and an offset is acknowledged only after the bytes are
stored. A chunk that changed between intent and commit sends the whole batch back to its intent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from mediastore.catalog.uploads import BatchChunk, CommitChunk, IntentChunk
from mediastore.chunkstore.copies import verified_body
from mediastore.chunkstore.keys import chunk_key, new_generation
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.errors import ChunkChanged, Unavailable
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.cutting import NamedChunk
from mediastore.uploads.trust import StoreTrust

log = structlog.get_logger(__name__)

ATTEMPTS_MAX = 5
PUTS_AT_ONCE_MAX = 8  # of one batch; more than a batch of ordinary chunks has
Result = TypeVar("Result")
Commit = Callable[[Sequence[CommitChunk]], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Chunks in order, named, in memory. `staged_bytes` of the same body lie stored between the
    upload's offset and this batch, and are acknowledged with it or not at all. `last`: its request
    brings no more.
    """

    chunks: tuple[NamedChunk, ...]
    staged_bytes: int = 0
    last: bool = False
    puts_at_once_max: int = PUTS_AT_ONCE_MAX

    @property
    def size(self) -> int:
        return sum(len(chunk.data) for chunk in self.chunks)

    @property
    def acknowledged_bytes(self) -> int:
        """How far the commit of this batch moves the offset."""
        return self.staged_bytes + self.size

    def rows(self) -> list[BatchChunk]:
        """What the intent writes, with a new generation for whatever turns out to be new."""
        return [BatchChunk(c.hash, len(c.data), new_generation()) for c in self.chunks]


class BatchStore:
    """Stores batches; knows nothing of requests, and statements are given to it."""

    def __init__(self, store: ChunkStore, metrics: Metrics, trust: StoreTrust) -> None:
        self._store = store
        self._metrics = metrics
        self._trust = trust

    async def put_and_commit(
        self,
        batch: Batch,
        intended: list[IntentChunk],
        intent: Callable[[], Awaitable[list[IntentChunk]]],
        commit: Commit[Result],
    ) -> Result:
        """PUT what a first intent found missing, then `commit`; what that returned. A commit that
        meets a changed chunk sends the batch back to `intent`.

        Raises what `intent` and `commit` raise, ChunkStoreUnavailable, StorageFull.
        """
        attempt = 1
        while True:
            chunks = await self._put_missing(batch, intended)
            try:
                return await commit(chunks)
            except ChunkChanged:
                if attempt >= ATTEMPTS_MAX:
                    raise
                attempt += 1
                intended = await intent()

    async def _put_missing(
        self, batch: Batch, intended: Sequence[IntentChunk]
    ) -> list[CommitChunk]:
        """PUT, several at once, what is not stored or damaged, in doubt everything; the batch's
        distinct chunks.
        """
        by_hash = {chunk.hash: chunk for chunk in batch.chunks}
        doubted = self._trust.doubted
        hits = [seen for seen in intended if seen.stored and not seen.damaged and not doubted]
        put = [seen for seen in intended if not seen.stored or seen.damaged or doubted]
        missing = [(by_hash[seen.hash], seen) for seen in put]
        if len(missing) == 1:
            await self._put(*missing[0])
        elif missing:
            await self._put_several(missing, batch.puts_at_once_max)
        for seen in hits:
            self._metrics.dedup_chunk_hits.inc()
            self._metrics.dedup_chunk_bytes.inc(len(by_hash[seen.hash].data))
        return [
            CommitChunk(seen.hash, seen.generation, not seen.stored or seen.damaged or doubted)
            for seen in intended
        ]

    async def _put_several(
        self, missing: Sequence[tuple[NamedChunk, IntentChunk]], at_once_max: int
    ) -> None:
        """PUT a few at once: one upload does not take the store's places from all others."""
        rest = iter(missing)

        async def put_from_rest() -> None:
            for chunk, seen in rest:
                await self._put(chunk, seen)

        try:
            async with asyncio.TaskGroup() as puts:
                for _ in range(min(len(missing), at_once_max)):
                    puts.create_task(put_from_rest())
        except ExceptionGroup as failed:
            raise _telling(failed.exceptions) from failed

    async def _put(self, chunk: NamedChunk, seen: IntentChunk) -> None:
        key = chunk_key(seen.hash, seen.generation)
        # Is the copy that was marked damaged good after all? Then only its mark goes.
        if seen.damaged and await verified_body(self._store, key, seen.hash) is not None:
            log.info("chunk_mark_lifted", key=key)
            return
        await self._store.put(key, chunk.data, crc32=chunk.crc32)
        if seen.damaged:
            log.info("chunk_healed", key=key)


def _telling(errors: Sequence[Exception]) -> Exception:
    """Of the PUTs that failed together, the error to act on: "try again" only if all say so."""
    return next((error for error in errors if not isinstance(error, Unavailable)), errors[0])
