"""The batches of one session that are on their way (INV-1, INV-2, INV-8).

A few of them overlap. Each writes its intent behind those of the batches before it and PUTs while
they PUT, but commits only after them: the offset moves over stored chunks alone, in order. The
statements of a session follow each other, so each names the offset as it is committed then.

An intent that is written again, because a chunk changed, releases everything behind it. A batch
whose predecessor's intent is younger than its own has therefore lost its rows, and goes back to its
intent as well. A batch that fails takes those behind it along, and none before it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from mediastore.catalog.staging import intend_staged
from mediastore.catalog.uploads import CommitChunk, IntentChunk, Upload, intend
from mediastore.errors import ChunkChanged
from mediastore.uploads.batch import Batch, Commit, Result
from mediastore.uploads.parts import UploadParts


@dataclass(slots=True, eq=False)
class _Place:
    """Where a batch begins, and which of its session's intents is its latest."""

    start: int
    intent: int = 0
    task: "asyncio.Task[Any] | None" = None

    def raise_if_failed(self) -> None:
        if self.task is not None and self.task.done():
            self.task.result()

    async def committed(self) -> None:
        """Wait for its commit, without cancelling it when the waiter is; raises what it raised."""
        if self.task is not None:
            await asyncio.wait([self.task])
            self.task.result()


class Pipeline:
    """Used by one session, or for one batch."""

    def __init__(self, parts: UploadParts, upload: Callable[[], Upload], *, start: int) -> None:
        """`upload` tells the row as of the latest commit; the first batch begins at `start`."""
        self._parts = parts
        self._upload = upload
        self._end = start
        self._statements = asyncio.Lock()  # fair: intents are written in the order of the batches
        self._intents = count(1)
        self._newest = _Place(start)
        self._under_way: deque[asyncio.Task[Any]] = deque()

    @property
    def upload(self) -> Upload:
        return self._upload()

    @property
    def end(self) -> int:
        """Where the next batch begins."""
        return self._end

    @property
    def busy(self) -> bool:
        """Is a batch under way, or has one failed that nobody has asked for yet?"""
        return bool(self._under_way)

    async def room(self) -> None:
        """Wait until another batch may begin; raises what a batch before it raised."""
        at_once_max = self._parts.settings.uploads.batches_at_once_max
        while self._under_way and (
            len(self._under_way) >= at_once_max or self._under_way[0].done()
        ):
            await self._oldest()

    def start(self, batch: Batch, commit: Commit[Result]) -> "asyncio.Task[Result]":
        """Store a batch behind the ones before it. `commit` acknowledges or stages it, when it is
        its turn, and brings `upload` up to date. A batch without chunks is its commit alone.
        """
        before, self._newest = self._newest, _Place(self._end)
        task = asyncio.create_task(self._store(batch, self._newest, before, commit))
        self._newest.task = task
        self._under_way.append(task)
        self._end += batch.size
        return task

    async def store(self, batch: Batch, commit: Commit[Result]) -> Result:
        """Store the last batch, and all before it. Raises what the first that fails raises: what
        intents, PUTs and commits raise.
        """
        last = self.start(batch, commit)
        await self.settle()
        return last.result()

    async def settle(self) -> None:
        """Wait for all that is under way; raises what the first that fails raised."""
        while self._under_way:
            await self._oldest()

    async def abandon(self) -> None:
        """End what is under way, wherever it is."""
        ended = list(self._under_way)
        self._under_way.clear()
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)

    async def _oldest(self) -> None:
        oldest = self._under_way[0]
        await asyncio.wait([oldest])
        oldest.result()
        self._under_way.popleft()

    async def _store(
        self, batch: Batch, place: _Place, before: _Place, commit: Commit[Result]
    ) -> Result:
        async def intent() -> list[IntentChunk]:
            async with self._statements:
                before.raise_if_failed()
                intended = await self._intend(batch, place.start)
                place.intent = next(self._intents)
                return intended

        async def commit_in_turn(chunks: Sequence[CommitChunk]) -> Result:
            await before.committed()
            if batch.chunks and before.intent > place.intent:
                raise ChunkChanged
            async with self._statements:
                return await commit(chunks)

        if not batch.chunks:
            return await commit_in_turn([])
        return await self._parts.batches.put_and_commit(
            batch, await intent(), intent, commit_in_turn
        )

    async def _intend(self, batch: Batch, start: int) -> list[IntentChunk]:
        upload = self._upload()
        if start == upload.offset:
            return await intend(
                self._parts.catalog, upload, batch.rows(), expires_seconds=upload.expires_seconds
            )
        return await intend_staged(
            self._parts.catalog,
            upload,
            batch.rows(),
            staged_bytes=start - upload.offset,
            expires_seconds=upload.expires_seconds,
        )
