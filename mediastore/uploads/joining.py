"""Joining: parts give their chunks to their final upload, in order, each once it is whole.

No byte is copied. Whoever notices that a part has become whole joins it (the request that sent its
last bytes, the one that makes the final, one that asks for the final), and a sweep does when a
process has died in between. Steps are bounded and go on where the last one came to.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from mediastore.catalog.concatenation import (
    Joined,
    create_final,
    final_of_list,
    final_of_part,
    get_concatenation,
    join_parts,
    ready_finals,
)
from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload, UploadDraft, get_upload, new_epoch
from mediastore.clock import Clock
from mediastore.content.hashing import BlobHasher
from mediastore.errors import MediastoreError
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.admission import Admission
from mediastore.uploads.finishing import Finisher
from mediastore.uploads.running_hash import RunningHashes
from mediastore.uploads.standing import Standing

log = structlog.get_logger(__name__)

STALE_SECONDS = 10
SWEEP_SECONDS = 15
SWEEP_FINALS_MAX = 100


@dataclass(frozen=True, slots=True)
class _Started:
    """A final that has all its bytes, and its job."""

    upload: Upload
    job: "asyncio.Task[Object]"


class Joiner:
    """Joins the parts of any final upload; owns none of them."""

    def __init__(
        self,
        catalog: Catalog,
        hashes: RunningHashes,
        finisher: Finisher,
        admission: Admission,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._hashes = hashes
        self._finisher = finisher
        self._metrics = metrics
        self._admission = admission
        self._clock = clock

    async def made_before(self, tenant: str, parts: Sequence[UUID]) -> UUID | None:
        """The final that this list was given for."""
        return await final_of_list(self._catalog, tenant, parts)

    async def create(
        self, draft: UploadDraft, parts: Sequence[UUID], header: str
    ) -> tuple[UUID, Standing | None]:
        """A final upload of these parts, in order; if they are whole its job has been started and
        waited for a while. For a list that was given before it is the final that this made.

        Raises BadConcatenation, PartTaken, TooLarge, and what the job raises.
        """
        policy = await self._admission.policy(draft.tenant)
        final, joined = await create_final(
            self._catalog,
            draft,
            parts,
            header=header,
            epoch=new_epoch(),
            size_max_bytes=policy.size_max_bytes,
        )
        if joined is not None:
            self._metrics.uploads_created[draft.protocol].inc()
        if joined is Joined.WHOLE:
            return final, await self._wait(await self._start(draft.tenant, final))
        return final, None

    async def join(self, tenant: str, final: UUID) -> Standing | None:
        """Join what can be joined; if that was all, where the final's job has brought it within a
        while. None: it waits for its parts.

        Raises TooLarge when the parts have too many bytes together, and what the job raises.
        """
        return await self._wait(await self._join(tenant, final))

    async def _join(self, tenant: str, final: UUID) -> "_Started | None":
        policy = await self._admission.policy(tenant)
        epoch = new_epoch()
        joined: Joined | None = Joined.MORE
        while joined is Joined.MORE:
            joined = await join_parts(
                self._catalog,
                final,
                epoch=epoch,
                size_max_bytes=policy.size_max_bytes,
                expires_seconds=policy.expires_seconds,
            )
        return await self._start(tenant, final) if joined is Joined.WHOLE else None

    async def part_came(self, part: Upload) -> None:
        """A part has all its bytes: if its final waits for it, join it. Its sender does not wait
        for the object, and does not learn what is wrong with the final: who asks for that does.
        """
        final = await final_of_part(self._catalog, part.id)
        if final is not None:
            await self._join_quietly(part.tenant, final)

    async def sweep(self) -> None:
        """For ever: join what nobody has joined, even if nobody asks."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            try:
                ready = await ready_finals(
                    self._catalog, stale_seconds=STALE_SECONDS, limit=SWEEP_FINALS_MAX
                )
            except MediastoreError as error:
                log.warning("joining_sweep_failed", code=error.code, detail=error.detail)
                continue
            for tenant, final in ready:
                await self._join_quietly(tenant, final)

    async def _join_quietly(self, tenant: str, final: UUID) -> None:
        try:
            await self._join(tenant, final)
        except MediastoreError as error:
            log.warning("joining_failed", upload=str(final), code=error.code, detail=error.detail)

    async def _start(self, tenant: str, final: UUID) -> "_Started | None":
        """Start the job of a final that this process has just made whole: its epoch is ours. None:
        it was terminated since.
        """
        upload = await get_upload(self._catalog, tenant, final)
        if upload is None:
            return None
        job = self._finisher.start(upload, await self._hasher(upload))
        job.add_done_callback(self._count)
        return _Started(upload, job)

    async def _wait(self, started: "_Started | None") -> Standing | None:
        """By its job, not by its row: a job that refuses the content leaves none."""
        if started is None:
            return None
        return Standing(started.upload, await self._finisher.wait(started.job))

    def _count(self, job: "asyncio.Task[Object]") -> None:
        if not job.cancelled() and job.exception() is None:
            self._metrics.uploads_finished.inc()

    async def _hasher(self, upload: Upload) -> BlobHasher:
        """What this process has hashed of the first part is the beginning of the whole."""
        if upload.declared_digests:
            return BlobHasher(upload.declared_digests)
        concatenation = await get_concatenation(self._catalog, upload.tenant, upload.id)
        if concatenation is None:
            return BlobHasher()
        return self._hashes.take(replace(upload, id=concatenation.first_part))
