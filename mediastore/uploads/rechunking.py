"""Re-chunking: an upload of many small pieces is cut again by its content, as a pass of its own.

At the end, so that its blob is made of the chunks that any other upload of the same file has; and
while it is open, so that its rows stay few. What was cut replaces what it was cut from only when it
is stored (INV-1); the pass has a cursor in the upload's row (INV-8), so another process goes on
where one has died. The rule when is in fragments.py.
"""

import asyncio
from collections.abc import Iterator, Sequence
from uuid import UUID

import structlog

from mediastore.catalog.finishing import StoredChunk, stored_chunks
from mediastore.catalog.pool import Catalog
from mediastore.catalog.rechunking import (
    begin_rechunking,
    commit_rechunked,
    intend_rechunked,
    settle,
)
from mediastore.catalog.uploads import CommitChunk, IntentChunk, Upload, get_upload
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.content.hashing import BlobHasher
from mediastore.errors import NotFound, UploadTaken
from mediastore.joining_errors import UploadFragmented
from mediastore.memory import MemoryBudget, Reservation
from mediastore.settings import Settings
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.batch import Batch, BatchStore
from mediastore.uploads.cutting import Cutter, NamedChunk
from mediastore.uploads.fragments import worth_rechunking
from mediastore.uploads.running_hash import (
    PAGE_CHUNKS,
    RunningHashes,
    follow,
    read_back,
    require_chunk_at,
)

log = structlog.get_logger(__name__)

READS_AT_ONCE_MAX = 8  # of one upload: small pieces cost a round trip each
READ_GROUP_BYTES = 8 * 1024 * 1024


class Rechunker:
    """The re-chunkings of this process."""

    def __init__(
        self,
        catalog: Catalog,
        store: ChunkStore,
        batches: BatchStore,
        memory: MemoryBudget,
        hashes: RunningHashes,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._batches = batches
        self._memory = memory
        self._hashes = hashes
        self._metrics = metrics
        self._settings = settings
        self._jobs: dict[UUID, asyncio.Task[None]] = {}

    async def prepare(self, upload: Upload, hasher: BlobHasher) -> None:
        """Make an upload that has all its bytes ready to be finished: cut again if that is worth
        it. `hasher` goes along where it can.

        Raises what reading back and storing raise; called again, it goes on where it was.
        """
        if worth_rechunking(
            self._settings, size=upload.fragmented_bytes, fragments=upload.fragments
        ):
            await self._run(upload, hasher)
        while not await settle(self._catalog, upload):
            await self._run(upload, hasher)

    async def make_room(self, upload: Upload) -> Upload:
        """Put the fragments of an open upload, which this request has taken, together; the upload
        as it stands then. The work goes on when the request has left.

        Raises UploadFragmented when it takes longer than a request waits; UploadTaken, also for one
        that is no upload any more, and what reading back and storing raise.
        """
        job = asyncio.create_task(self._make_room(upload))
        self._jobs[upload.id] = job
        job.add_done_callback(lambda _: self._ended(upload.id, job))
        if not await self._wait(job):
            raise UploadFragmented
        try:
            job.result()
        except NotFound:
            raise UploadTaken from None
        roomy = await get_upload(self._catalog, upload.tenant, upload.id)
        if roomy is None:
            raise UploadTaken
        return roomy

    async def idle(self, id_: UUID) -> bool:
        """Wait for this process's job on an open upload; False: it is still running.

        Taking the upload over meanwhile would only send the job back a batch.
        """
        job = self._jobs.get(id_)
        return job is None or await self._wait(job)

    async def close(self) -> None:
        """End this process's jobs; the next request for an upload goes on with its own."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    async def _make_room(self, upload: Upload) -> None:
        hasher = self._hashes.take(upload)
        await self._run(upload, hasher)
        self._hashes.keep(upload.id, hasher)

    async def _run(self, upload: Upload, hasher: BlobHasher) -> None:
        memory = Reservation(self._memory, self._settings.memory.wait_max_seconds)
        try:
            await _Pass(
                self._catalog, self._store, self._batches, memory, self._settings, upload, hasher
            ).run()
        finally:
            memory.close()
        self._metrics.uploads_rechunked.inc()
        log.info("upload_rechunked", upload=str(upload.id), fragments=upload.fragments)

    async def _wait(self, job: "asyncio.Task[None]") -> bool:
        done, _ = await asyncio.wait([job], timeout=self._settings.uploads.finishing_wait_seconds)
        return bool(done)

    def _ended(self, id_: UUID, job: "asyncio.Task[None]") -> None:
        if self._jobs.get(id_) is job:
            del self._jobs[id_]
        if not job.cancelled() and (error := job.exception()) is not None:
            log.warning("rechunking_failed", upload=str(id_), error=repr(error))


class _Pass:
    """One run from the cursor to the upload's offset. Used once."""

    def __init__(
        self,
        catalog: Catalog,
        store: ChunkStore,
        batches: BatchStore,
        memory: Reservation,
        settings: Settings,
        upload: Upload,
        hasher: BlobHasher,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._batches = batches
        self._memory = memory
        self._settings = settings
        self._upload = upload
        self._hasher = hasher
        self._cutter = Cutter(settings.chunking, memory)
        self._filling: list[NamedChunk] = []
        self._filling_bytes = 0
        self._cursor = 0  # what lies before it is stored as it was cut
        self._position = 0  # what lies before it was read

    async def run(self) -> None:
        self._cursor = self._position = await begin_rechunking(self._catalog, self._upload)
        while self._position < self._upload.offset:
            page = await stored_chunks(
                self._catalog,
                self._upload.id,
                start=self._position,
                end=self._upload.offset,
                limit=PAGE_CHUNKS,
            )
            require_chunk_at(self._upload.id, page, self._position)
            for group in _groups(page):
                await self._take_in(group)
        self._fill(await self._cutter.flush())
        await self._store_filling()
        await begin_rechunking(self._catalog, self._upload)  # what was replaced is given up

    async def _take_in(self, chunks: Sequence[StoredChunk]) -> None:
        """Read a few stored chunks, cut them, store what has been cut when that is a batch."""
        await self._memory.grow(sum(chunk.size for chunk in chunks))
        for chunk, data in zip(chunks, await self._read(chunks), strict=True):
            require_chunk_at(self._upload.id, [chunk], self._position)
            await follow(self._hasher, data, chunk.offset)
            cut_before = self._position - chunk.offset  # a run that died in the middle of a chunk
            self._memory.shrink(cut_before)
            self._cutter.feed(data[cut_before:] if cut_before else data)
            self._position = chunk.offset + chunk.size
            self._fill(await self._cutter.take())
            if self._filling and (
                self._memory.starved
                or self._filling_bytes >= self._settings.uploads.batch_max_bytes
            ):
                await self._store_filling()

    async def _read(self, chunks: Sequence[StoredChunk]) -> list[bytes]:
        """Several at once. The first error ends all of them."""
        read: dict[int, bytes] = {}
        rest = iter(chunks)

        async def read_from_rest() -> None:
            for chunk in rest:
                read[chunk.offset] = await read_back(self._catalog, self._store, chunk)

        try:
            async with asyncio.TaskGroup() as reads:
                for _ in range(min(len(chunks), READS_AT_ONCE_MAX)):
                    reads.create_task(read_from_rest())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return [read[chunk.offset] for chunk in chunks]

    def _fill(self, chunks: list[NamedChunk]) -> None:
        self._filling += chunks
        self._filling_bytes += sum(len(chunk.data) for chunk in chunks)

    async def _store_filling(self) -> None:
        if not self._filling:
            return
        batch = Batch(tuple(self._filling))
        cursor = self._cursor

        async def intent() -> list[IntentChunk]:
            return await intend_rechunked(
                self._catalog,
                self._upload,
                batch.rows(),
                cursor=cursor,
                expires_seconds=self._upload.expires_seconds,
            )

        async def commit(chunks: Sequence[CommitChunk]) -> None:
            await commit_rechunked(self._catalog, self._upload, batch.size, chunks, cursor=cursor)

        await self._batches.put_and_commit(batch, await intent(), intent, commit)
        self._filling, self._filling_bytes = [], 0
        self._cursor += batch.size
        self._memory.shrink(batch.size)


def _groups(chunks: Sequence[StoredChunk]) -> Iterator[list[StoredChunk]]:
    """Runs of chunks that are read together: bounded in bytes, at least one chunk each."""
    group: list[StoredChunk] = []
    size = 0
    for chunk in chunks:
        if group and size + chunk.size > READ_GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(chunk)
        size += chunk.size
    if group:
        yield group
