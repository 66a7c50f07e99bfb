"""The collector's Prometheus metrics. config/alerts has rules for them."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from mediastore.catalog.collection import StageAmount
from mediastore_gc.plan import DUE_STAGES, STAGES
from mediastore_gc.run_counts import RunCounts
from mediastore_gc.status import Status, due_seconds

BRAKES = (
    "paused",
    "holds",
    "delete_share",
    "blob_quarantine",
    "clock_skew",
    "database_restored",
    "collector_refused",
    "chunk_store_unavailable",
)


class CollectionMetrics:
    """On an injected registry."""

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
        self._due = Gauge(
            "mediastore_collection_oldest_due_seconds",
            "For how long the oldest of a stage has been due; 0: nothing is.",
            ["stage"],
            registry=registry,
        )
        self._brakes = Gauge(
            "mediastore_collection_brake",
            "1 while it stops or limits collectors.",
            ["code"],
            registry=registry,
        )
        self._retried = Gauge(
            "mediastore_collection_retried_keys",
            "Keys that the store has refused to delete five times or more.",
            registry=registry,
        )
        self._success = Gauge(
            "mediastore_collection_last_success_timestamp_seconds",
            "When a round last ended well, or this collector began.",
            registry=registry,
        )
        self._audit_findings = Gauge(
            "mediastore_collection_audit_findings",
            "What the last audit of a kind found and did not mend: danger (bytes) or leak (space).",
            ["audit", "severity"],
            registry=registry,
        )
        self._audit_ended = Gauge(
            "mediastore_collection_audit_ended_timestamp_seconds",
            "When the last audit of a kind ended.",
            ["audit"],
            registry=registry,
        )
        self._done = {
            name: Counter(f"mediastore_collection_{name}", text, registry=registry)
            for name, text in (
                ("erased_objects", "Objects and uploads that were erased."),
                ("expired_uploads", "Uploads that expired before they became an object."),
                ("expired_bytes", "Bytes of those uploads that had been acknowledged."),
                ("doomed_keys", "Keys whose last reference has gone."),
                ("deleted_keys", "Keys that the store has deleted."),
                ("deleted_bytes", "Bytes that the store has given back."),
                ("refused_keys", "Keys that the store did not delete when asked."),
                ("kept_keys", "Keys that a recount kept: a count was wrong."),
                ("quarantined", "Hashes whose released references did not fit their row."),
                ("blobs_put_aside", "Blobs that were put aside: counted too low."),
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

    def observe(self, status: Status) -> None:
        """What holds whether or not a run may begin."""
        due = due_seconds(status)
        for stage in DUE_STAGES:
            self._due.labels(stage).set(due.get(stage, 0))
        on = {brake.code for brake in status.brakes}
        for code in {*BRAKES, *on}:
            self._brakes.labels(code).set(code in on)
        self._retried.set(status.retries.over)
        for audit in status.last_audits:
            self._audit_findings.labels(audit.audit, "danger").set(audit.dangers)
            self._audit_findings.labels(audit.audit, "leak").set(audit.leaks)
            self._audit_ended.labels(audit.audit).set(audit.ended_at.timestamp())

    def succeeded(self, now: datetime) -> None:
        self._success.set(now.timestamp())

    def count(self, counts: RunCounts) -> None:
        for name, counter in self._done.items():
            counter.inc(getattr(counts, name))

    def count_failure(self, code: str) -> None:
        self._failures.labels(code).inc()
