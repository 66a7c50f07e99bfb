"""The collector.

Plan, then execute. Batches in bounded loops, guards before each, counts of what was done.

Stages: erasures, expired uploads, trash, variants, garbage, references, recount, claim and delete,
sweep. Rows first, bytes later (INV-5); what one stage makes due, the next one finds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import structlog

from mediastore.catalog import collection
from mediastore.catalog.emptying import purge_trash, remove_garbage
from mediastore.catalog.marker import checked_marker
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import Clock
from mediastore.collector_errors import CollectorRefused
from mediastore.errors import MediastoreError
from mediastore.settings import CollectionSettings
from mediastore_gc.deleting import Deleted, delete_batch
from mediastore_gc.erasing import Eraser
from mediastore_gc.limits import RunBudget, RunLimits
from mediastore_gc.plan import Plan, check_share_of_day, make_plan
from mediastore_gc.progress import Progress
from mediastore_gc.putting_aside import PutAside
from mediastore_gc.recount import Recount, RecountReport
from mediastore_gc.run_counts import RunCounts
from mediastore_gc.safety import ClockWatch, CollectionDelays, check_state
from mediastore_gc.sweeping import release_some, sweep_some

log = structlog.get_logger(__name__)

# Of one stage in one run; what is left is for the next run.
BATCHES_MAX = 100_000
BATCH_ROWS = 1000


class Collector:
    """One worker. Several may run at once, here or elsewhere: they share the work."""

    def __init__(
        self,
        catalog: Catalog,
        store: ChunkStore,
        settings: CollectionSettings,
        delays: CollectionDelays,
        clock: Clock,
        *,
        worker: str,
        stop: asyncio.Event,
        budget: RunBudget | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._settings = settings
        self._delays = delays
        self._clock = clock
        self._worker = worker
        self._stop = stop
        self._budget = budget or RunBudget(RunLimits(), clock)
        self._progress = progress or Progress()
        self._eraser = Eraser(catalog, store)
        self._aside = PutAside(catalog, settings)
        self._watch = ClockWatch(clock, skew_max_seconds=delays.clock_skew_max_seconds)
        self._planned: Plan | None = None
        self._state: collection.CollectorState | None = None
        self.counts = RunCounts()

    async def plan(self) -> Plan:
        """What is due, after every guard that can be asked without changing anything.

        Raises DatabaseRestored, CollectorPaused, ClockSkew, CollectorRefused.
        """
        self._state = await self._checked_state()
        self._planned = await make_plan(self._catalog, self._settings, self._delays)
        return self._planned

    async def execute(self, plan: Plan) -> RunCounts:
        """Do what is due. A plan is executed once, by the collector that made it, and no older one.

        Raises what `plan` raises, RecountFailed, InvariantBroken, Unavailable; what was done until
        then stays.
        """
        if plan is not self._planned:
            raise CollectorRefused("a plan can be executed once; make a new one")
        self._planned = None
        plan.check_share()
        self._aside.check(plan.stages["blob_quarantine"].count)
        self.counts = RunCounts()
        run = None if plan.is_empty else await collection.start_run(self._catalog, self._worker)
        outcome = "failed"
        try:
            await self._stages(plan, run)
            outcome = "stopped" if self._stop.is_set() else "finished"
        except MediastoreError as error:
            outcome = error.code
            raise
        finally:
            if run is not None:
                await self._record_end(run, outcome)
        return self.counts

    @property
    def _is_over(self) -> bool:
        return self._stop.is_set() or self._budget.time_is_over

    def renew_budget(self) -> None:
        """The limits hold anew from here on."""
        self._budget.renew()

    async def recount(self) -> RecountReport | None:
        """Make a recount pass now. None: it was asked to stop. Raises RecountFailed."""
        state = await self._checked_state()
        pass_ = Recount(
            self._catalog,
            self._settings,
            self._clock,
            window_seconds=self._delays.window_seconds,
            stop=self._stop,
            progress=self._progress,
        )
        return await pass_.run(state.incarnation)

    async def _stages(self, plan: Plan, run: int | None) -> None:
        if not plan.is_empty:
            for name, unit, stage in (
                ("erasing", "objects", self._erase),
                ("expiring uploads", "references", self._expire),
                ("purging trash", "objects", self._purge),
            ):
                self._progress.begin(name, unit)
                await self._drain(stage)
            self._progress.begin("releasing variants", "variants")
            await self._drain(self._release_variants)
            self._progress.begin("removing garbage", "blobs")
            await self._drain_together(self._remove)
            self._progress.begin("releasing", "references", plan.stages["unlinking"].count or None)
            await self._drain_together(self._release)
            await self._drain(self._mark_erased)
            if await self._needs_recount() and await self.recount() is not None:
                self.counts = self.counts.plus(recounts=1)
            ready = plan.stages["doomed_due"].count + plan.stages["doomed_unrecounted"].count
            self._progress.begin("deleting", "keys", ready or None)
            await self._drain_together(lambda: self._delete(plan, run))
        self._progress.begin("sweeping", "rows")
        await self._drain(self._release_variants)
        await self._drain(self._sweep)

    async def _drain(self, batch: Callable[[], Awaitable[int]]) -> None:
        """Repeat a batch until it finds nothing; a stop lets the batch under way finish."""
        for _ in range(BATCHES_MAX):
            if self._is_over:
                return
            await self._guard()
            done = await batch()
            if done == 0:
                return
            self._progress.advance(done)

    async def _drain_together(self, batch: Callable[[], Awaitable[int]]) -> None:
        """By as many workers as the limits say. When one fails, the others end by themselves."""
        workers = range(self._budget.limits.workers)
        outcomes = await asyncio.gather(
            *(self._drain(batch) for _ in workers), return_exceptions=True
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _erase(self) -> int:
        erased = await self._eraser.remove_some()
        self.counts = self.counts.plus(erased_objects=erased)
        return erased

    async def _mark_erased(self) -> int:
        marked = await self._eraser.mark_some()
        self.counts = self.counts.plus(erased_references=marked)
        return marked

    async def _expire(self) -> int:
        expired = await collection.expire_uploads(self._catalog, BATCH_ROWS)
        self.counts = self.counts.plus(expired_uploads=expired.uploads, expired_bytes=expired.bytes)
        return expired.uploads + expired.entries

    async def _purge(self) -> int:
        granted = self._budget.reserve_objects(BATCH_ROWS)
        if granted == 0:
            return 0
        done = await purge_trash(self._catalog, granted, trash_seconds=self._delays.trash_seconds)
        self._budget.return_objects(granted - done.objects)
        self.counts = self.counts.plus(purged_objects=done.objects, blobs_put_aside=done.put_aside)
        await self._aside.note(done.put_aside)
        return done.objects + done.put_aside

    async def _release_variants(self) -> int:
        """Before the garbage that they were made of, and when they are all that is due."""
        released, put_aside = await release_some(
            self._catalog, self._settings, self._delays, limit=BATCH_ROWS
        )
        self.counts = self.counts.plus(released_variants=released, blobs_put_aside=put_aside)
        await self._aside.note(put_aside)
        return released + put_aside

    async def _remove(self) -> int:
        revive_seconds = self._delays.revive_seconds
        done = await remove_garbage(self._catalog, BATCH_ROWS, revive_seconds=revive_seconds)
        self.counts = self.counts.plus(removed_blobs=done.blobs, blobs_put_aside=done.put_aside)
        await self._aside.note(done.put_aside)
        return done.blobs + done.put_aside

    async def _release(self) -> int:
        released = await collection.release_references(self._catalog, self._settings.batch_entries)
        if released.quarantined:
            log.error("references_quarantined", hashes=released.quarantined)
        self.counts = self.counts.plus(
            released_references=released.entries,
            doomed_keys=released.doomed_keys,
            doomed_bytes=released.doomed_bytes,
            quarantined=released.quarantined,
        )
        return released.entries

    async def _needs_recount(self) -> bool:
        """Are there keys past the window that no finished pass covers?"""
        plan = await make_plan(self._catalog, self._settings, self._delays)
        return not self._is_over and plan.stages["doomed_unrecounted"].count > 0

    async def _delete(self, plan: Plan, run: int | None) -> int:
        await check_share_of_day(self._catalog, plan)
        done = await self._delete_within_budget()
        self.counts = self.counts.plus(
            deleted_keys=done.deleted,
            deleted_bytes=done.deleted_bytes,
            refused_keys=done.refused,
            kept_keys=done.kept,
        )
        if run is not None and done.claimed:
            await collection.record_progress(self._catalog, run, asdict(self.counts))
        # A store that refuses a whole batch is left alone until the next run.
        return 0 if done.claimed and not done.deleted else done.claimed + done.kept

    async def _delete_within_budget(self) -> Deleted:
        keys, size = self._budget.reserve_keys(self._settings.batch_keys)
        if keys == 0:
            return Deleted()
        done = await delete_batch(
            self._catalog,
            self._store,
            self._settings,
            self._delays,
            self._clock,
            self._incarnation_state().incarnation,
            keys_max=keys,
            bytes_max=size,
        )
        # What the store refused may yet have been deleted: only what was not claimed is left over.
        self._budget.return_keys(keys - done.claimed, size - done.claimed_bytes)
        await self._budget.pace(done.claimed)
        return done

    async def _sweep(self) -> int:
        swept = await sweep_some(
            self._catalog, self._eraser, self._settings, self._delays, limit=BATCH_ROWS
        )
        self.counts = self.counts.plus(swept_rows=swept.rows)
        return swept.rows + swept.folded

    async def _guard(self) -> None:
        """Before each batch: incarnation, pause, clocks."""
        now = await collection.lock_collector(
            self._catalog,
            self._incarnation_state().incarnation,
            host_time=self._clock.now(),
            skew_max_seconds=self._delays.clock_skew_max_seconds,
        )
        self._watch.check(now)

    async def _checked_state(self) -> collection.CollectorState:
        """By the same guards as the database's own, which change nothing: for dry runs too."""
        await checked_marker(self._catalog, self._store)
        state = await collection.collector_state(self._catalog)
        check_state(state, self._clock.now(), self._delays.clock_skew_max_seconds)
        self._watch.check(state.now)
        return state

    def _incarnation_state(self) -> collection.CollectorState:
        if self._state is None:
            raise CollectorRefused("nothing is done without a plan")
        return self._state

    async def _record_end(self, run: int, outcome: str) -> None:
        try:
            await collection.finish_run(self._catalog, run, outcome, asdict(self.counts))
        except MediastoreError as error:
            log.warning("run_not_recorded", run=run, outcome=outcome, why=error.detail)
