"""The collection at a glance, for people, programs and Prometheus. Looking changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from mediastore.catalog.collection import (
    ChunksTotal,
    CollectorState,
    RunRecord,
    StageAmount,
    chunks_total,
    collector_state,
    recent_runs,
    reclaimed_since,
    stage_amounts,
)
from mediastore.catalog.pool import Catalog
from mediastore.catalog.recount import RecountRecord, last_recount
from mediastore.settings import DAY_SECONDS, CollectionSettings
from mediastore_gc.collector import RunCounts
from mediastore_gc.plan import STAGES

RUNS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Status:
    """Live chunks, what waits at each stage, the last recount and runs, the last day's yield."""

    state: CollectorState
    live: ChunksTotal
    stages: Mapping[str, StageAmount]
    last_recount: RecountRecord | None
    last_runs: tuple[RunRecord, ...]
    deleted_last_day_keys: int
    deleted_last_day_bytes: int


async def gather_status(catalog: Catalog, settings: CollectionSettings) -> Status:
    """Look at everything; stages by the settings' delays."""
    stages = await stage_amounts(
        catalog,
        trash_seconds=None,
        revive_seconds=settings.revive_delay_seconds,
        window_seconds=settings.recovery_window_seconds + settings.recovery_margin_seconds,
        claim_timeout_seconds=settings.claim_timeout_seconds,
    )
    keys, deleted_bytes = await reclaimed_since(catalog, DAY_SECONDS)
    return Status(
        await collector_state(catalog),
        await chunks_total(catalog),
        {stage: stages.get(stage, StageAmount()) for stage in STAGES},
        await last_recount(catalog),
        tuple(await recent_runs(catalog, RUNS_SHOWN)),
        keys,
        deleted_bytes,
    )


class CollectionMetrics:
    """The collector's Prometheus metrics, on an injected registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._items = Gauge(
            "mediastore_collection_items",
            "What waits at each stage of collection: objects, blobs, references or keys.",
            ["stage"],
            registry=registry,
        )
        self._bytes = Gauge(
            "mediastore_collection_bytes", "Its bytes.", ["stage"], registry=registry
        )
        self._done = {
            name: Counter(f"mediastore_collection_{name}", text, registry=registry)
            for name, text in (
                ("expired_uploads", "Uploads that expired before they became an object."),
                ("expired_bytes", "Bytes of those uploads that had been acknowledged."),
                ("doomed_keys", "Keys whose last reference has gone."),
                ("deleted_keys", "Keys that the store has deleted."),
                ("deleted_bytes", "Bytes that the store has given back."),
                ("refused_keys", "Keys that the store did not delete when asked."),
                ("kept_keys", "Keys that a recount kept: a count was wrong."),
                ("quarantined", "Hashes whose released references did not fit their row."),
                ("recounts", "Complete recounts."),
            )
        }
        self._failures = Counter(
            "mediastore_collection_failures", "Runs that failed.", ["code"], registry=registry
        )

    def show(self, stages: Mapping[str, StageAmount]) -> None:
        for stage in STAGES:
            self._items.labels(stage).set(stages[stage].count)
            self._bytes.labels(stage).set(stages[stage].bytes)

    def count(self, counts: RunCounts) -> None:
        for name, counter in self._done.items():
            counter.inc(getattr(counts, name))

    def count_failure(self, code: str) -> None:
        self._failures.labels(code).inc()
