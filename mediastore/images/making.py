"""Variants: found, or made once however many ask, on however many replicas.

In one process the second who asks waits for the first. Between replicas a row says who is at it
(INV-8's way: a token that every later step names); one that shows no life within its lease is
overtaken. A picture that cannot be made is remembered as such for a while.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from mediastore.catalog.variants import (
    Computation,
    Picture,
    Variant,
    fail_computation,
    find_variants,
    give_up_computation,
    new_computation,
    take_computation,
)
from mediastore.clock import Clock
from mediastore.delivery.reader import ReaderParts
from mediastore.errors import MediastoreError, ShuttingDown, UploadTaken
from mediastore.image_errors import ImageRefused, ImagesBusy, ImageTooCostly, ImageTooLarge
from mediastore.images.formats import Output
from mediastore.images.grammar import text
from mediastore.images.image_metrics import ImageMetrics
from mediastore.images.pool import WorkerPool
from mediastore.images.remembered import Remembered
from mediastore.images.sources import verified_source
from mediastore.images.storing import store_variant
from mediastore.images.transform import Transform
from mediastore.images.variant_keys import variant_key
from mediastore.images.worker_process import Job, Made
from mediastore.settings import ImagesSettings
from mediastore.uploads.parts import UploadParts

log = structlog.get_logger(__name__)

SAME: Final = "same"  # the result is the source, byte for byte: nothing is stored
LEASE_MARGIN_SECONDS: Final = 60.0  # for reading the source, and for storing the result
POLL_SECONDS: Final = 0.1
POLL_SECONDS_MAX: Final = 1.0
_REFUSALS: Final = {kind.code: kind for kind in (ImageRefused, ImageTooLarge, ImageTooCostly)}
Name = tuple[bytes, str]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A variant that is asked for: of a blob of so many bytes, for a tenant."""

    tenant: str
    blob: bytes
    size: int
    transform: Transform
    output: Output

    @property
    def key(self) -> str:
        return variant_key(self.transform, self.output)

    @property
    def name(self) -> Name:
        return self.blob, self.key


class Variants:
    """The variants that this process serves and makes."""

    def __init__(
        self,
        parts: UploadParts,
        reads: ReaderParts,
        pool: WorkerPool,
        settings: ImagesSettings,
        clock: Clock,
        metrics: ImageMetrics,
    ) -> None:
        self._parts = parts
        self._catalog = parts.catalog
        self._reads = reads
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._found: Remembered[Name, Variant] = Remembered(
            clock, seconds=settings.believed_seconds, entries_max=settings.believed_max
        )
        self._refused: Remembered[Name, ImageRefused] = Remembered(
            clock,
            seconds=min(settings.believed_seconds, settings.failures_kept_seconds),
            entries_max=settings.believed_max,
        )
        # By name and urgency: who waits for a picture does not wait behind background work.
        self._making: dict[tuple[Name, bool], asyncio.Task[Variant]] = {}

    async def find(self, wanted: Sequence[Wanted]) -> list[Variant | None]:
        """Those that are there, of one blob, in the order asked."""
        missing = [one for one in wanted if self._found.get(one.name) is None]
        if missing:
            keys = [one.key for one in missing]
            found = await find_variants(self._catalog, missing[0].blob, keys)
            for one in missing:
                if one.key in found:
                    self._found.keep(one.name, found[one.key])
            by_name = {(missing[0].blob, key): variant for key, variant in found.items()}
        else:
            by_name = {}
        return [self._found.get(one.name) or by_name.get(one.name) for one in wanted]

    def refused(self, wanted: Wanted) -> ImageRefused | None:
        """Why it cannot be made, if that is known here."""
        return self._refused.get(wanted.name)

    def forget(self, wanted: Wanted) -> None:
        """Its bytes are not there, or wrong: look again."""
        self._found.forget(wanted.name)

    async def make(self, wanted: Wanted) -> Variant:
        """Make it, or wait for who does.

        Raises ImageRefused and its kinds, ImagesBusy, NotFound, and what reads and batches raise.
        """
        return await asyncio.shield(self._task(wanted, background=False))

    def make_behind(self, wanted: Wanted) -> None:
        """Make it when there is nothing else to do."""
        if self.refused(wanted) is None:
            _ = self._task(wanted, background=True)

    async def close(self) -> None:
        """End what is being made; others may take it up at once."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _task(self, wanted: Wanted, *, background: bool) -> asyncio.Task[Variant]:
        task = self._making.get((wanted.name, background))
        if task is None:
            work = self._counted(wanted, background=background)
            task = self._making[wanted.name, background] = asyncio.create_task(work)
            task.add_done_callback(_retrieve)
        return task

    async def _counted(self, wanted: Wanted, *, background: bool) -> Variant:
        outcome = "failed"
        try:
            variant = await self._make(wanted, background=background)
            outcome = "made"
            self._found.keep(wanted.name, variant)
            return variant
        except ImageRefused as error:
            outcome = "refused"
            self._refused.keep(wanted.name, error)
            raise
        except ImagesBusy:
            outcome = "busy"
            raise
        except UploadTaken:
            outcome = "taken"
            raise ImagesBusy from None
        finally:
            self._metrics.outcomes[outcome].inc()
            self._making.pop((wanted.name, background), None)

    async def _make(self, wanted: Wanted, *, background: bool) -> Variant:
        known = self.refused(wanted)
        if known is not None:
            raise known
        if wanted.size > self._settings.source_max_bytes:
            raise ImageTooLarge(f"{wanted.size} bytes are more than is decoded")
        computation = new_computation(wanted.blob, wanted.key)
        ends_at = self._clock.monotonic() + self._lease_seconds
        pause = POLL_SECONDS
        while self._clock.monotonic() < ends_at:
            drawn = await self._take_and_draw(wanted, computation, background=background)
            if isinstance(drawn, Made):
                return await self._given_up_on_failure(
                    computation, self._store(wanted, computation, drawn)
                )
            if drawn is not None:
                return drawn
            if background:
                break
            await self._clock.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS_MAX)
        raise ImagesBusy

    @property
    def _lease_seconds(self) -> float:
        return self._settings.wall_seconds + LEASE_MARGIN_SECONDS

    async def _take_and_draw(
        self, wanted: Wanted, computation: Computation, *, background: bool
    ) -> Made | Variant | None:
        """What was drawn, or is there by now; None: another replica is at it."""
        async with self._pool.queue.place(
            wanted.tenant,
            background=background,
            wait_max_seconds=None if background else self._settings.wait_max_seconds,
        ):
            taken = await take_computation(
                self._catalog, computation, lease_seconds=self._lease_seconds
            )
            if taken.state == "taken":
                return await self._given_up_on_failure(computation, self._draw(wanted, computation))
        if taken.state == "failed":
            if taken.failed == SAME:
                return self._source_itself(wanted)
            raise _REFUSALS.get(taken.failed or "", ImageRefused)(taken.detail)
        if taken.state == "made":
            self._found.forget(wanted.name)
            return (await self.find([wanted]))[0]
        return None

    async def _given_up_on_failure(
        self, computation: Computation, step: Coroutine[Any, Any, Result]
    ) -> Result:
        """While it is ours: if it does not come to its end, the next one may begin at once."""
        try:
            return await step
        except ImageRefused:
            raise  # remembered: nobody is to begin
        except BaseException:
            with suppress(MediastoreError):  # its lease ends by itself
                await asyncio.shield(give_up_computation(self._catalog, computation))
            raise

    async def _draw(self, wanted: Wanted, computation: Computation) -> Made:
        job = Job(text(wanted.transform), wanted.output.extension, wanted.size)
        try:
            return await self._pool.make(
                job, verified_source(self._reads, wanted.blob, wanted.size)
            )
        except ImageRefused as error:
            await fail_computation(
                self._catalog,
                computation,
                error.code,
                error.detail,
                kept_seconds=self._settings.failures_kept_seconds,
            )
            raise

    async def _store(self, wanted: Wanted, computation: Computation, drawn: Made) -> Variant:
        picture = Picture(drawn.width, drawn.height, drawn.frames)
        result = await store_variant(
            self._parts, computation, picture, drawn.data, wanted.output.content_type
        )
        if result == wanted.blob:
            await fail_computation(
                self._catalog,
                computation,
                SAME,
                "",
                kept_seconds=self._settings.failures_kept_seconds,
            )
        return Variant(
            result,
            len(drawn.data),
            drawn.width,
            drawn.height,
            drawn.frames,
            self._clock.now(),
        )

    def _source_itself(self, wanted: Wanted) -> Variant:
        return Variant(wanted.blob, wanted.size, 0, 0, 1, self._clock.now())


def _retrieve(task: asyncio.Task[Variant]) -> None:
    """One that nobody waits for may fail without anybody to tell."""
    if task.cancelled():
        return
    error = task.exception()
    if error is not None and not isinstance(error, MediastoreError):
        log.error("variant_crashed", exc_info=error)
    elif error is not None and not isinstance(error, ImageRefused | ShuttingDown):
        log.info("variant_not_made", code=getattr(error, "code", None))
