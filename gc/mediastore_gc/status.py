"""The collection at a glance, for people, programs and metrics. Looking changes nothing.

Nothing here counts rows: stages come from kept counts, live chunks from a sample of pages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from mediastore.catalog.collection import (
    ChunksTotal,
    CollectorState,
    RunRecord,
    StageAmount,
    chunks_total,
    collector_state,
    recent_runs,
    reclaimed_since,
)
from mediastore.catalog.counts import KeptCounts, glance_at_stages, hour_counts, kept_counts
from mediastore.catalog.holds import count_holds
from mediastore.catalog.marker import checked_marker
from mediastore.catalog.pool import Catalog
from mediastore.catalog.recount import RecountRecord, last_recount
from mediastore.catalog.watching import AuditRecord, Retries, doomed_retries, newest_audits
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.errors import MediastoreError
from mediastore.settings import DAY_SECONDS, CollectionSettings
from mediastore_gc.plan import DUE_STAGES, STAGES, Plan
from mediastore_gc.putting_aside import too_many
from mediastore_gc.safety import seconds_gone_back
from mediastore_gc.stages import ComingBack, judge

RUNS_SHOWN = 5
# Some 30,000 rows: enough to know all within about one per cent, and read in a moment even if not
# one of these pages is cached.
SAMPLED_PAGES = 500


@dataclass(frozen=True, slots=True)
class Brake:
    """What stops or limits collectors now: a code, and why in words."""

    code: str
    why: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Live chunks, what is at each stage, what is overdue, when space comes back, the brakes that
    are on, keys that are tried again, the last recount, audits and runs, the last day's yield.
    There is more than is said of stages in `at_least`.
    """

    state: CollectorState
    live: ChunksTotal
    stages: Mapping[str, StageAmount]
    at_least: tuple[str, ...]
    overdue: Mapping[str, StageAmount]
    coming_back: tuple[ComingBack, ...]
    brakes: tuple[Brake, ...]
    retries: Retries
    last_audits: tuple[AuditRecord, ...]
    last_recount: RecountRecord | None
    last_runs: tuple[RunRecord, ...]
    deleted_last_day_keys: int
    deleted_last_day_bytes: int


async def gather_status(
    catalog: Catalog, store: ChunkStore, settings: CollectionSettings
) -> Status:
    """Look at everything; stages by the settings' delays."""
    state = await collector_state(catalog)
    recount = await last_recount(catalog)
    holds = await count_holds(catalog)
    glances = await glance_at_stages(catalog)
    aside = glances["blob_quarantine"].amount.count
    kept = await _kept(catalog, settings) if holds or aside else KeptCounts()
    standing = judge(
        await hour_counts(catalog),
        now=state.now,
        settings=settings,
        recounted_at=None if recount is None else recount.started_at,
        held=kept.held,
        aside=kept.aside,
    )
    found = {**standing.stages, **{stage: glance.amount for stage, glance in glances.items()}}
    stages = {stage: found.get(stage, StageAmount()) for stage in STAGES}
    live = await chunks_total(catalog, pages_max=SAMPLED_PAGES)
    keys, deleted_bytes = await reclaimed_since(catalog, DAY_SECONDS)
    brakes = await _brakes(catalog, store, state, holds)
    brakes += share_brake(stages, live, deleted_bytes, settings)
    doubt = too_many(aside, settings)
    if doubt is not None:
        brakes.append(Brake("blob_quarantine", doubt))
    return Status(
        state,
        live,
        stages,
        (
            *(stage for stage, glance in glances.items() if not glance.exact),
            *(f"{stage}_held" for stage in kept.at_least if holds),
        ),
        standing.overdue,
        standing.coming_back,
        tuple(brakes),
        await doomed_retries(catalog),
        tuple(await newest_audits(catalog)),
        recount,
        tuple(await recent_runs(catalog, RUNS_SHOWN)),
        keys,
        deleted_bytes,
    )


def due_seconds(status: Status) -> dict[str, float]:
    """By stage that has something to do: for how long the oldest of it has been due."""
    since = {
        stage: status.stages[stage].next_due or status.stages[stage].oldest
        for stage in DUE_STAGES
        if status.stages[stage].count
    }
    now = status.state.now
    return {
        stage: max(0.0, (now - moment).total_seconds())
        for stage, moment in since.items()
        if moment is not None
    }


async def _kept(catalog: Catalog, settings: CollectionSettings) -> KeptCounts:
    return await kept_counts(
        catalog,
        revive_seconds=settings.revive_delay_seconds,
        window_seconds=settings.window_seconds,
    )


def share_brake(
    stages: Mapping[str, StageAmount],
    live: ChunksTotal,
    deleted_bytes: int,
    settings: CollectionSettings,
) -> list[Brake]:
    """Would a run stop, as it would delete too large a share? What trash frees is not known without
    reading it, so there may be a doubt: objects share blobs.
    """

    def plan(freed: StageAmount) -> Plan:
        return Plan(
            {**stages, "trash_freed": freed},
            live,
            deleted_bytes,
            settings.delete_share_max,
            settings.delete_share_floor_bytes,
        )

    least, most = plan(StageAmount()), plan(stages["trash_due"])
    if most.to_delete_bytes <= most.allowed_bytes:
        return []
    stops = "stops" if least.to_delete_bytes > least.allowed_bytes else "may stop"
    return [
        Brake(
            "delete_share",
            f"a run {stops}: it would delete up to {most.to_delete_bytes} of {most.all_bytes} "
            f"bytes, {most.allowed_bytes} are allowed today; see 'plan' and --delete-share-max",
        )
    ]


async def _brakes(
    catalog: Catalog, store: ChunkStore, state: CollectorState, holds: int
) -> list[Brake]:
    brakes = []
    if state.paused_at is not None:
        brakes.append(Brake("paused", state.paused_why or "no reason was given", state.paused_at))
    if holds:
        brakes.append(Brake("holds", f"{holds} holds keep what is theirs; see 'hold list'"))
    if seconds_gone_back(state) > 0:
        brakes.append(Brake("clock_skew", "the database's clock went back", state.clock_high))
    try:
        await checked_marker(catalog, store)
    except MediastoreError as error:
        brakes.append(Brake(error.code, error.detail))
    return brakes
