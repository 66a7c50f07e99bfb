"""Every Prometheus metric of the service, made once on an injected registry.

Label values are few and known when the process starts, so their children are resolved here: one
observation is a lock and an addition (measured: 0.25 µs a counter, 0.8 µs a histogram). Chunk store
calls are counted where they are made, in chunkstore/measured.py. docs/metrics.md is generated from
the registry.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mediastore.telemetry.plain_counter import Count, PlainCounter
from mediastore.telemetry.request_series import RequestSeries

REQUEST_SECONDS_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
HOOK_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics, each one a child that takes observations as it is."""

    registry: CollectorRegistry
    bytes_received: Counter
    bytes_sent: Count
    acknowledged_bytes: Counter
    uploads_created: Mapping[str, Counter]
    uploads_finished: Counter
    uploads_terminated: Counter
    uploads_abandoned: Counter
    terminated_bytes: Counter
    abandoned_bytes: Counter
    uploads_taken_over: Counter
    uploads_rechunked: Counter
    pulls: Mapping[str, Counter]
    dedup_blob_hits: Counter
    dedup_blob_bytes: Counter
    dedup_chunk_hits: Counter
    dedup_chunk_bytes: Counter
    chunk_cache_hits: Count
    chunk_cache_misses: Count
    chunks_damaged: Counter
    chunks_missing: Counter
    hook_allowed: Counter
    hook_denied: Counter
    hook_failed: Counter
    hook_seconds: Histogram
    events_delivered: Counter
    events_failed: Counter
    events_parked: Counter
    request_ended: Callable[[str, str, int, float], None]
    """Count one request: method, route (a route's pattern, never a path), status, seconds."""
    _gauges: Mapping[str, Gauge]

    @classmethod
    def create(cls, registry: CollectorRegistry | None = None) -> Self:
        """All metrics, registered on `registry` (a new one without)."""
        registry = CollectorRegistry() if registry is None else registry

        requests = RequestSeries(REQUEST_SECONDS_BUCKETS, METHODS)
        registry.register(requests)

        def counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
            return Counter(f"mediastore_{name}", text, list(labels), registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"mediastore_{name}", text, registry=registry)

        created = counter("uploads_created", "Uploads begun, by protocol.", ["protocol"])
        pulls = counter(
            "pulls", "Pulls from a URL that ended: made, refused, failed or other.", ["outcome"]
        )
        ended = counter(
            "uploads_ended",
            "Uploads ended: finished, terminated by the client, or abandoned because they could "
            "not go on. Those that expire are counted by the collector.",
            ["how"],
        )
        unfinished = counter(
            "uploads_unfinished_bytes",
            "Bytes that were stored for uploads that never became an object.",
            ["how"],
        )
        dedup_hits = counter(
            "dedup_hits",
            "Blobs and chunks that were stored already, so not stored again.",
            ["kind"],
        )
        dedup_bytes = counter("dedup_bytes", "Bytes of those blobs and chunks.", ["kind"])
        sent = PlainCounter("mediastore_bytes_sent", "Bytes of content sent.")
        cache = PlainCounter(
            "mediastore_chunk_cache_requests",
            "Chunks asked of the chunk cache.",
            "outcome",
            ("hit", "miss"),
        )
        registry.register(sent)
        registry.register(cache)
        bad = counter(
            "chunks_bad", "Reads that met a chunk whose bytes are damaged or missing.", ["what"]
        )
        hook = counter(
            "hook_answers",
            "Questions to apps before an upload is created, by answer; failed is none that counts.",
            ["outcome"],
        )
        deliveries = counter(
            "events_attempts",
            "Tries to deliver an event, by outcome; a parked one waits for an operator.",
            ["outcome"],
        )
        return cls(
            registry=registry,
            bytes_received=counter("bytes_received", "Bytes of request bodies of content."),
            bytes_sent=sent.count(),
            acknowledged_bytes=counter(
                "acknowledged_bytes", "Bytes whose storing was acknowledged to a client."
            ),
            uploads_created={
                protocol: created.labels(protocol) for protocol in ("tus", "ietf", "form", "raw")
            },
            uploads_finished=ended.labels("finished"),
            uploads_terminated=ended.labels("terminated"),
            uploads_abandoned=ended.labels("abandoned"),
            terminated_bytes=unfinished.labels("terminated"),
            abandoned_bytes=unfinished.labels("abandoned"),
            uploads_taken_over=counter(
                "uploads_taken_over", "Times a request took an upload from another request."
            ),
            uploads_rechunked=counter(
                "uploads_rechunked", "Times an upload's small pieces were put together."
            ),
            pulls={
                outcome: pulls.labels(outcome) for outcome in ("made", "refused", "failed", "other")
            },
            dedup_blob_hits=dedup_hits.labels("blob"),
            dedup_blob_bytes=dedup_bytes.labels("blob"),
            dedup_chunk_hits=dedup_hits.labels("chunk"),
            dedup_chunk_bytes=dedup_bytes.labels("chunk"),
            chunk_cache_hits=cache.count("hit"),
            chunk_cache_misses=cache.count("miss"),
            chunks_damaged=bad.labels("damaged"),
            chunks_missing=bad.labels("missing"),
            hook_allowed=hook.labels("allowed"),
            hook_denied=hook.labels("denied"),
            hook_failed=hook.labels("failed"),
            hook_seconds=Histogram(
                "mediastore_hook_seconds",
                "Seconds from the question to an app to its answer.",
                buckets=HOOK_SECONDS_BUCKETS,
                registry=registry,
            ),
            events_delivered=deliveries.labels("delivered"),
            events_failed=deliveries.labels("failed"),
            events_parked=deliveries.labels("parked"),
            request_ended=requests.observe,
            _gauges={
                name: gauge(name, text)
                for name, text in (
                    ("requests_in_progress", "Requests being answered now."),
                    ("memory_budget_in_use_bytes", "Bytes that bodies and chunks in flight hold."),
                    ("memory_budget_waiting", "Requests that wait for memory."),
                    ("chunk_cache_bytes", "Bytes of verified chunks that are kept."),
                    ("catalog_pool_connections", "Open connections to the database."),
                    ("catalog_pool_in_use", "Connections to the database that are in use."),
                    (
                        "events_waiting",
                        "Events that wait, of all processes; 10,000 stands for that or more.",
                    ),
                    (
                        "events_parked",
                        "Events that are tried no more until somebody asks; 10,000 likewise.",
                    ),
                    ("events_oldest_waiting_seconds", "Age of the oldest event that waits."),
                )
            },
        )

    def upload_abandoned(self, dropped_bytes: int) -> None:
        """Count an upload that could not go on, and what had been stored for it."""
        self.uploads_abandoned.inc()
        self.abandoned_bytes.inc(dropped_bytes)

    def watch_requests(self, in_progress: Callable[[], float]) -> None:
        """Read how many requests are being answered when metrics are asked for."""
        self._gauges["requests_in_progress"].set_function(in_progress)

    def watch_memory(self, in_use_bytes: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Read the memory budget when metrics are asked for."""
        self._gauges["memory_budget_in_use_bytes"].set_function(in_use_bytes)
        self._gauges["memory_budget_waiting"].set_function(waiting)

    def watch_chunk_cache(self, held_bytes: Callable[[], float]) -> None:
        """Read the chunk cache's size when metrics are asked for."""
        self._gauges["chunk_cache_bytes"].set_function(held_bytes)

    def watch_events(self, backlog: Callable[[], tuple[float, float, float]]) -> None:
        """Read the outbox, (waiting, parked, oldest in seconds), when metrics are asked for."""
        self._gauges["events_waiting"].set_function(lambda: backlog()[0])
        self._gauges["events_parked"].set_function(lambda: backlog()[1])
        self._gauges["events_oldest_waiting_seconds"].set_function(lambda: backlog()[2])

    def watch_pool(self, connections: Callable[[], tuple[int, int]]) -> None:
        """Read the connection pool, (open, idle), when metrics are asked for."""

        def in_use() -> float:
            opened, idle = connections()
            return opened - idle

        self._gauges["catalog_pool_connections"].set_function(lambda: connections()[0])
        self._gauges["catalog_pool_in_use"].set_function(in_use)
