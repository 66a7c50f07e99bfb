"""Metrics of pictures, registered beside the service's own."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

OUTCOMES: Final = ("made", "refused", "busy", "failed", "taken")
SECONDS_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ImageMetrics:
    """Counts what becomes of pictures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        made = Counter(
            "mediastore_variants",
            "Variants that were to be made: made, refused (the picture), busy (no worker), "
            "failed (the service), or taken (another replica made it).",
            ["outcome"],
            registry=registry,
        )
        self.outcomes = {outcome: made.labels(outcome) for outcome in OUTCOMES}
        found = Counter(
            "mediastore_variant_lookups",
            "Variants that were asked for: hit, or miss.",
            ["outcome"],
            registry=registry,
        )
        self.hits, self.misses = found.labels("hit"), found.labels("miss")
        self.seconds = Histogram(
            "mediastore_image_seconds",
            "Seconds that a worker takes for one picture, reading the source included.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.workers_killed = Counter(
            "mediastore_image_workers_lost",
            "Workers that died or were killed over a picture, and were replaced.",
            registry=registry,
        )
        self._waiting = Gauge(
            "mediastore_images_waiting", "Pictures that wait for a worker.", registry=registry
        )
        self.worker_peak_bytes = Gauge(
            "mediastore_image_worker_peak_bytes",
            "Most memory that a worker of this process has held.",
            registry=registry,
        )
        self._peak = 0

    def watch_waiting(self, waiting: Callable[[], float]) -> None:
        """Read the queue when metrics are asked for."""
        self._waiting.set_function(waiting)

    def saw_peak(self, size: int) -> None:
        """What a worker has held so far."""
        self._peak = max(self._peak, size)
        self.worker_peak_bytes.set(self._peak)
