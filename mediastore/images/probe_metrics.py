"""Metrics of looks at uploaded pictures, registered beside the service's own."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from mediastore.catalog.pictures import PicturesBacklog

OUTCOMES: Final = ("done", "not_a_picture", "failed", "put_off", "gone")


class ProbeMetrics:
    """Counts what becomes of looks, and shows what waits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        looks = Counter(
            "mediastore_picture_probes",
            "Looks at uploaded pictures that ended: done, not_a_picture, failed (for good), "
            "put_off (to be tried again), or gone (removed, or taken over, meanwhile).",
            ["outcome"],
            registry=registry,
        )
        self.outcomes = {outcome: looks.labels(outcome) for outcome in OUTCOMES}
        self._waiting = Gauge(
            "mediastore_pictures_waiting",
            "Uploaded pictures that wait to be looked at, of all processes; 10,000 stands for that "
            "or more.",
            registry=registry,
        )
        self._oldest = Gauge(
            "mediastore_pictures_oldest_waiting_seconds",
            "Age of the oldest of them.",
            registry=registry,
        )

    def watch(self, backlog: Callable[[], PicturesBacklog]) -> None:
        """Read what was measured last when metrics are asked for."""
        self._waiting.set_function(lambda: backlog().waiting)
        self._oldest.set_function(lambda: backlog().oldest_waiting_seconds)
