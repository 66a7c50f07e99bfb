"""The batches of one session that are on their way (INV-1, INV-2, INV-8).

A few of them overlap. Each writes its intent behind those of the batches before it and PUTs while
they PUT, but commits only after them: the offset moves over stored chunks alone, in order. The
statements of a session follow each other, so each names the offset as it is committed then.

An intent that is written again, because a chunk changed, releases everything behind its batch. The
batches behind it find that before they commit, and go back to their intents as well. A batch that
fails takes those behind it along, and none before it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from mediastore.catalog.staging import intend_staged
from mediastore.catalog.uploads import CommitChunk, IntentChunk, Upload, intend
from mediastore.errors import ChunkChanged
from mediastore.uploads.batch import Batch, Commit, Result
from mediastore.uploads.parts import UploadParts


class Pipeline:
    """Used by one session, or for one batch."""

    def __init__(self, parts: UploadParts, row: Upload | None, *, start: int) -> None:
        """The first batch begins at `start`; `row` may come later, but before it."""
        self.row = row
        """The upload as of its latest commit: whoever commits brings it up to date."""
        self._parts = parts
        self._end = start
        self._intended_end = start  # how far the rows in the catalog go
        self._statements = asyncio.Lock()  # fair: intents are written in the order of the batches
        self._newest: asyncio.Task[Any] | None = None
        self._under_way: deque[asyncio.Task[Any]] = deque()

    @property
    def upload(self) -> Upload:
        if self.row is None:
            raise RuntimeError("a batch is stored only for an upload that has a row")
        return self.row

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
        its turn, and brings `row` up to date. A batch without chunks is its commit alone.
        """
        task = asyncio.create_task(self._store(batch, self._end, self._newest, commit))
        self._newest = task
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
        await self._under_way[0]
        del self._under_way[0]

    async def _store(
        self,
        batch: Batch,
        start: int,
        before: "asyncio.Task[Any] | None",
        commit: Commit[Result],
    ) -> Result:
        async def intent() -> list[IntentChunk]:
            async with self._statements:
                if self._intended_end >= start:
                    return await self._intend(batch, start)
            await _committed(before)  # it has yet to write its intent again, or has failed
            async with self._statements:
                return await self._intend(batch, start)

        async def commit_in_turn(chunks: Sequence[CommitChunk]) -> Result:
            await _committed(before)
            if self._intended_end < start + batch.size:
                raise ChunkChanged
            async with self._statements:
                return await commit(chunks)

        if not batch.chunks:
            return await commit_in_turn([])
        return await self._parts.batches.put_and_commit(
            batch, await intent(), intent, commit_in_turn
        )

    async def _intend(self, batch: Batch, start: int) -> list[IntentChunk]:
        """Write an intent; what lies behind the batch is released by it."""
        upload = self.upload
        catalog, rows, expires_seconds = self._parts.catalog, batch.rows(), upload.expires_seconds
        if start == upload.offset:
            intended = await intend(catalog, upload, rows, expires_seconds=expires_seconds)
        else:
            intended = await intend_staged(
                catalog,
                upload,
                rows,
                staged_bytes=start - upload.offset,
                expires_seconds=expires_seconds,
            )
        self._intended_end = start + batch.size
        return intended


async def _committed(before: "asyncio.Task[Any] | None") -> None:
    """Wait for a batch without cancelling it when the waiter is; raises what it raised."""
    if before is not None:
        await asyncio.wait([before])
        before.result()
