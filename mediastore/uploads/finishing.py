"""Jobs that finish uploads that cannot be finished at once (state `finishing`): what this process
has not hashed of their content is read back, small pieces are put together, and they may be large.

A job shows life in the row; when it stops (a crash), any process takes the upload over by a new
epoch, and a job that finds itself overtaken stops. A job outlives the request that started it: the
client may leave and ask again.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar
from uuid import UUID

import structlog

from mediastore.catalog.dropping import terminate_upload
from mediastore.catalog.finishing import (
    claim_finishing,
    finish,
    has_damaged_chunk,
    stale_finishing,
    touch_finishing,
)
from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import (
    Upload,
)
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import Clock
from mediastore.content.hashing import BlobHasher
from mediastore.errors import (
    BadDigest,
    ContentDamaged,
    ContentMissing,
    IdempotencyKeyInUse,
    MediastoreError,
    NotFound,
    Unavailable,
    UploadTaken,
)
from mediastore.memory import MemoryBudget
from mediastore.policy_errors import TypeMismatch, TypeNotAllowed
from mediastore.settings import Settings
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.admission import Admission
from mediastore.uploads.hashing import declared_digests
from mediastore.uploads.rechunking import Rechunker
from mediastore.uploads.running_hash import catch_up
from mediastore.uploads.trust import StoreTrust
from mediastore.uploads.type_decision import check_stored_type

log = structlog.get_logger(__name__)

TOUCH_SECONDS = 3
STALE_SECONDS = 10
SWEEP_SECONDS = 15
JOBS_MAX = 8
OUTAGE_RETRIES_MAX = 20
OUTAGE_PAUSE_SECONDS = 15
Result = TypeVar("Result")


class Finisher:
    """The finishing jobs of this process."""

    def __init__(
        self,
        catalog: Catalog,
        store: ChunkStore,
        memory: MemoryBudget,
        rechunker: Rechunker,
        admission: Admission,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        trust: StoreTrust,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._trust = trust
        self._memory = memory
        self._rechunker = rechunker
        self._admission = admission
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._jobs: dict[UUID, asyncio.Task[Object]] = {}
        self._places = asyncio.Semaphore(JOBS_MAX)

    async def finish(self, upload: Upload, hasher: BlobHasher) -> Object | None:
        """Start the job and wait for it a while; None: it is still running.

        Raises what the job raised: BadDigest, IdempotencyKeyInUse, ContentDamaged, ContentMissing,
        unavailable parts.
        """
        return await self.wait(self.start(upload, hasher))

    async def resume(self, id_: UUID) -> Object | None:
        """Wait for this process's job, or start one if the upload's job shows no life.

        None: it is still running.
        """
        job = self._jobs.get(id_)
        if job is None:
            claimed = await claim_finishing(self._catalog, id_, stale_seconds=STALE_SECONDS)
            if claimed is None:
                return None
            job = self.start(claimed, BlobHasher(claimed.declared_digests))
        return await self.wait(job)

    async def wait(self, job: asyncio.Task[Object]) -> Object | None:
        """What a job has made within a while. None: it is still running, or another process's job
        is, or has ended.
        """
        done, _ = await asyncio.wait([job], timeout=self._settings.uploads.finishing_wait_seconds)
        try:
            return job.result() if done else None
        except (NotFound, UploadTaken):
            return None

    async def sweep(self) -> None:
        """For ever: take over uploads whose finishing job has died, even if nobody asks."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            try:
                places = max(0, JOBS_MAX - len(self._jobs))  # the rest is for other processes
                stale = await stale_finishing(
                    self._catalog, stale_seconds=STALE_SECONDS, limit=places
                )
                for id_ in stale:
                    if id_ in self._jobs:
                        continue
                    claimed = await claim_finishing(self._catalog, id_, stale_seconds=STALE_SECONDS)
                    if claimed is not None:
                        _ = self.start(claimed, BlobHasher(claimed.declared_digests))
            except MediastoreError as error:
                log.warning("finishing_sweep_failed", code=error.code, detail=error.detail)

    async def close(self) -> None:
        """End this process's jobs; another process, or the next start, takes them over."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    def start(self, upload: Upload, hasher: BlobHasher) -> asyncio.Task[Object]:
        """Start the job of a finishing upload whose epoch is this process's."""
        job = asyncio.create_task(self._run(upload, hasher))
        self._jobs[upload.id] = job
        job.add_done_callback(lambda _: self._ended(upload.id, job))
        return job

    def _ended(self, id_: UUID, job: asyncio.Task[Object]) -> None:
        if self._jobs.get(id_) is job:
            del self._jobs[id_]
        if not job.cancelled() and (error := job.exception()) is not None:
            log.log(_level(error), "finishing_failed", upload=str(id_), error=repr(error))

    async def _run(self, upload: Upload, hasher: BlobHasher) -> Object:
        # Without a sign of life it expires in the end, unless an upload of the same bytes heals it.
        if await has_damaged_chunk(self._catalog, upload.id):
            raise ContentDamaged(f"upload {upload.id} has a chunk that is marked damaged")
        alive = asyncio.create_task(self._show_life(upload))
        try:
            upload = await _while_it_lasts(alive, self._prepare(upload, hasher))
            blob = hasher.digest()
            await self._trust.look_at(blob)
            return await finish(
                self._catalog,
                upload,
                blob=blob,
                size=upload.offset,
                chunking=self._settings.chunking,
                idempotency_key=upload.idempotency_key,
                digests=declared_digests(hasher, upload.declared_digests),
            )
        except (BadDigest, IdempotencyKeyInUse, TypeMismatch, TypeNotAllowed):
            dropped_bytes = await terminate_upload(
                self._catalog, upload.tenant, upload.id, epoch=upload.epoch
            )
            if dropped_bytes is not None:
                self._metrics.upload_abandoned(dropped_bytes)
            raise
        finally:
            # Waited for: a sign of life that lands after the job's end would keep others from it.
            alive.cancel()
            await asyncio.wait([alive])

    async def _prepare(self, upload: Upload, hasher: BlobHasher) -> Upload:
        """All that takes long: its content looked at, and read where `hasher` has not gone."""
        try:
            if upload.concat == "final":  # no body has shown its beginning
                policy = await self._admission.policy(upload.tenant)
                upload = await check_stored_type(self._catalog, self._store, policy, upload)
            async with self._places:
                await self._read_rest(upload, hasher)
        except (ContentMissing, ContentDamaged):
            # Nothing is lost if another job has finished it, or its client has ended it.
            if await self._touch(upload):
                raise
            raise UploadTaken from None
        return upload

    async def _read_rest(self, upload: Upload, hasher: BlobHasher) -> None:
        """Put small pieces together, and hash what is stored and not hashed. An outage is waited
        out for a while: another job would begin hashing again at byte 0.
        """
        for tried in range(OUTAGE_RETRIES_MAX + 1):
            try:
                await self._rechunker.prepare(upload, hasher)
                return await catch_up(
                    self._catalog,
                    self._store,
                    self._memory,
                    upload.id,
                    hasher,
                    upload.offset,
                    wait_seconds=self._settings.memory.wait_max_seconds,
                )
            except Unavailable as error:
                if tried == OUTAGE_RETRIES_MAX:
                    raise
                log.warning("finishing_put_off", upload=str(upload.id), why=error.detail)
            await self._clock.sleep(OUTAGE_PAUSE_SECONDS)
        return None

    async def _show_life(self, upload: Upload) -> None:
        """Until the upload is gone, or another job's."""
        while True:
            with suppress(MediastoreError):
                if not await self._touch(upload):
                    return
            await self._clock.sleep(TOUCH_SECONDS)

    async def _touch(self, upload: Upload) -> bool:
        """Whether the upload is still there, and this job's."""
        return await touch_finishing(self._catalog, upload, expires_seconds=upload.expires_seconds)


async def _while_it_lasts(alive: asyncio.Task[None], work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` comes to; it is ended when `alive` ends. Raises UploadTaken."""
    working = asyncio.create_task(work)
    try:
        await asyncio.wait([working, alive], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            alive.result()
            raise UploadTaken
        return working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _level(error: BaseException) -> int:
    """A client's fault, or an upload that is another's or gone by now, is nobody's to look at."""
    if isinstance(error, Unavailable):
        return logging.WARNING
    if isinstance(error, MediastoreError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.INFO
    return logging.ERROR
