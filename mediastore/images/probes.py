"""Pictures that were uploaded are looked at in the background, each content once.

A loop waits for a place among the workers, behind every request for a variant, and only then claims
a picture, of whichever tenant's turn it is: what is claimed is being looked at, so a lease that is
over means that its process has died. A look that fails for reasons that may pass is tried again,
later each time and not for ever. While the store or anything else is away, no picture is at fault:
looks wait, and do not count.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog

from mediastore.backoff import backoff_seconds
from mediastore.catalog.pictures import (
    ClaimedPicture,
    PicturesBacklog,
    claim_picture,
    end_picture,
    give_picture_back,
    pictures_backlog,
    put_picture_off,
)
from mediastore.catalog.pool import Catalog
from mediastore.clock import Clock
from mediastore.delivery.reader import ReaderParts
from mediastore.errors import MediastoreError, NotFound, Unavailable
from mediastore.image_errors import ImageRefused, ImagesBusy, ImageTooCostly, ImageTooLarge
from mediastore.images.pool import WorkerPool
from mediastore.images.probe_metrics import ProbeMetrics
from mediastore.images.sources import verified_source
from mediastore.images.worker_process import ProbeJob
from mediastore.settings import ImagesSettings

log = structlog.get_logger(__name__)

NOBODY: Final = ""  # in the queue of places: whose turn it is, the claim decides
LEASE_MARGIN_SECONDS: Final = 60.0  # to start a worker, and to end the claim
BACKLOG_SECONDS: Final = 15.0


class Probes:
    """The looks of this process."""

    def __init__(
        self,
        catalog: Catalog,
        reads: ReaderParts,
        pool: WorkerPool,
        settings: ImagesSettings,
        clock: Clock,
        metrics: ProbeMetrics,
    ) -> None:
        self._catalog = catalog
        self._reads = reads
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._backlog = PicturesBacklog()
        metrics.watch(lambda: self._backlog)

    async def run(self) -> None:
        """For ever: look at what is due, one after the other; until cancelled."""
        while True:
            looked = False
            try:
                looked = await self._look_at_next()
            except ImagesBusy:
                log.debug("picture_looks_wait", why="too many pictures wait for a worker")
            except MediastoreError as error:  # a claim that was not ended comes back
                log.warning("picture_look_not_ended", code=error.code, detail=error.detail)
            if not looked:
                await self._clock.sleep(self._settings.probe_poll_seconds)

    async def measure(self) -> None:
        """For ever: look at what waits, for the metrics."""
        while True:
            try:
                self._backlog = await pictures_backlog(self._catalog)
            except MediastoreError as error:
                log.warning("pictures_not_counted", code=error.code, detail=error.detail)
            await self._clock.sleep(BACKLOG_SECONDS)

    async def _look_at_next(self) -> bool:
        """False: nothing is due, or nothing can be looked at now."""
        async with self._pool.queue.place(NOBODY, background=True):
            lease_seconds = self._settings.wall_seconds + LEASE_MARGIN_SECONDS
            picture = await claim_picture(self._catalog, lease_seconds=lease_seconds)
            if picture is None:
                return False
            try:
                await self._look(picture)
            except Unavailable as error:
                self._metrics.outcomes["put_off"].inc()
                log.warning("pictures_not_looked_at", code=error.code, detail=error.detail)
                seconds = retry_seconds(self._settings, 1)
                await give_picture_back(self._catalog, picture, seconds=seconds)
                return False
            except asyncio.CancelledError:
                with suppress(MediastoreError):  # its lease ends by itself
                    await asyncio.shield(give_picture_back(self._catalog, picture))
                raise
        return True

    async def _look(self, picture: ClaimedPicture) -> None:
        try:
            found = await self._probe(picture)
        except ImageTooCostly as error:  # it may have been another's fault that its worker died
            await self._put_off(picture, error)
        except ImageRefused as error:
            await self._fail(picture, error)
        except NotFound:
            self._metrics.outcomes["gone"].inc()  # its row has gone with its blob
        except Unavailable:
            raise
        except MediastoreError as error:
            await self._put_off(picture, error)
        else:
            outcome: Any = "not_a_picture" if found is None else "done"
            ended = await end_picture(self._catalog, picture, outcome, probe=found)
            self._count(outcome, ended=ended)

    async def _probe(self, picture: ClaimedPicture) -> dict[str, Any] | None:
        if picture.attempts > self._settings.probe_attempts_max:
            raise ImageTooCostly("no look at it has come to its end")
        if picture.size > self._settings.source_max_bytes:
            raise ImageTooLarge(f"{picture.size} bytes are more than is decoded")
        if picture.size == 0:
            return None
        job = ProbeJob(picture.keep_captured, picture.size)
        source = verified_source(self._reads, picture.blob, picture.size)
        return await self._pool.probe(job, source)

    async def _put_off(self, picture: ClaimedPicture, error: MediastoreError) -> None:
        if picture.attempts >= self._settings.probe_attempts_max:
            await self._fail(picture, error)
            return
        seconds = retry_seconds(self._settings, picture.attempts)
        log.warning("picture_look_put_off", blob=picture.blob.hex(), why=error.detail or error.code)
        self._metrics.outcomes["put_off"].inc()
        await put_picture_off(self._catalog, picture, seconds=seconds)

    async def _fail(self, picture: ClaimedPicture, error: MediastoreError) -> None:
        log.info("picture_look_failed", blob=picture.blob.hex(), code=error.code, why=error.detail)
        ended = await end_picture(self._catalog, picture, "failed", code=error.code)
        self._count("failed", ended=ended)

    def _count(self, outcome: str, *, ended: bool) -> None:
        self._metrics.outcomes[outcome if ended else "gone"].inc()


def retry_seconds(settings: ImagesSettings, attempts: int) -> float:
    """The pause after so many attempts to look."""
    return backoff_seconds(
        attempts,
        first_seconds=settings.probe_retry_seconds,
        longest_seconds=settings.probe_retry_max_seconds,
    )
