"""The sum of several processes' metrics: what counts never falls, what all see is not added up."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mediastore.chunkstore.measured import ChunkStoreMetrics
from mediastore.delivery.disk_cache import DiskCacheMetrics
from mediastore.events.cdn.purge_metrics import PurgeMetrics
from mediastore.images.image_metrics import ImageMetrics
from mediastore.images.probe_metrics import ProbeMetrics
from mediastore.telemetry.metrics import Metrics
from mediastore.workers.merging import LARGEST, Merged, snapshot

# Gauges that are a process's own share of something: they are added up.
ADDED = {
    "mediastore_catalog_pool_connections",
    "mediastore_catalog_pool_in_use",
    "mediastore_chunk_cache_bytes",
    "mediastore_images_waiting",
    "mediastore_memory_budget_in_use_bytes",
    "mediastore_memory_budget_waiting",
    "mediastore_requests_in_progress",
}


class Process:
    """A registry with one metric of each kind."""

    def __init__(self, requests: int, in_use: float, waiting: float) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "r", ["route"], registry=self.registry)
        self.requests.labels("/a").inc(requests)
        Gauge("in_use", "u", registry=self.registry).set(in_use)
        Gauge("mediastore_events_waiting", "w", registry=self.registry).set(waiting)
        self.seconds = Histogram("seconds", "s", buckets=(1, 2), registry=self.registry)
        self.seconds.observe(1.5)


def merged(processes: dict[int, Process]) -> tuple[Merged, CollectorRegistry]:
    made, registry = Merged(), CollectorRegistry()
    registry.register(made)
    for number, process in processes.items():
        made.saw(number, snapshot(process.registry))
    return made, registry


def test_counts_and_shares_are_added_up_and_what_all_see_is_not() -> None:
    _, registry = merged({1: Process(3, 10, 7), 2: Process(4, 20, 9)})
    assert registry.get_sample_value("requests_total", {"route": "/a"}) == 7
    assert registry.get_sample_value("in_use") == 30
    assert registry.get_sample_value("mediastore_events_waiting") == 9
    assert registry.get_sample_value("seconds_count") == 2
    assert registry.get_sample_value("seconds_sum") == 3
    assert registry.get_sample_value("seconds_bucket", {"le": "1.0"}) == 0
    assert registry.get_sample_value("seconds_bucket", {"le": "2.0"}) == 2


def test_what_a_process_has_counted_stays_when_it_has_ended() -> None:
    made, registry = merged({1: Process(3, 10, 7), 2: Process(4, 20, 9)})
    made.departed(1)
    made.departed(1)  # it has, already
    assert registry.get_sample_value("requests_total", {"route": "/a"}) == 7
    assert registry.get_sample_value("seconds_count") == 2
    assert registry.get_sample_value("in_use") == 20
    made.saw(1, snapshot(Process(1, 5, 0).registry))
    assert registry.get_sample_value("requests_total", {"route": "/a"}) == 8
    made.saw(1, snapshot(Process(2, 5, 0).registry))  # in the place of what it had said before
    assert registry.get_sample_value("requests_total", {"route": "/a"}) == 9
    assert registry.get_sample_value("in_use") == 25


def test_a_series_that_one_process_alone_has() -> None:
    one, other = Process(1, 0, 0), Process(1, 0, 0)
    other.requests.labels("/b").inc()
    _, registry = merged({1: one, 2: other})
    assert registry.get_sample_value("requests_total", {"route": "/b"}) == 1


def test_the_sum_of_one_process_reads_as_the_process_itself() -> None:
    metrics = Metrics.create()
    metrics.request_ended("GET", "/a", 200, 0.01)
    metrics.bytes_sent.inc(5)
    made, registry = Merged(), CollectorRegistry()
    registry.register(made)
    made.saw(1, snapshot(metrics.registry))
    assert generate_latest(registry) == generate_latest(metrics.registry)


def test_it_is_settled_for_every_gauge_how_it_is_merged() -> None:
    registry = CollectorRegistry()
    Metrics.create(registry)
    ChunkStoreMetrics(registry)
    ImageMetrics(registry)
    ProbeMetrics(registry)
    PurgeMetrics(registry, [])
    DiskCacheMetrics(registry)
    gauges = {metric.name for metric in registry.collect() if metric.type == "gauge"}
    assert gauges == ADDED | LARGEST
