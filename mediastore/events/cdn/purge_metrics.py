"""Metrics of purges, registered beside the service's own."""

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from mediastore.catalog.purges import CdnStanding

OUTCOMES: Final = ("sent", "failed", "parked")


class PurgeMetrics:
    """Counts purges by CDN; `cdns` are those that the settings name."""

    def __init__(self, registry: CollectorRegistry, cdns: Sequence[str]) -> None:
        purges = Counter(
            "mediastore_cdn_purges",
            "Purges of CDNs: sent (each of them twice), failed and to be tried again, or parked.",
            ["cdn", "outcome"],
            registry=registry,
        )
        self.outcomes: Mapping[str, Mapping[str, Counter]] = {
            cdn: {outcome: purges.labels(cdn, outcome) for outcome in OUTCOMES} for cdn in cdns
        }
        self._waiting = Gauge(
            "mediastore_cdn_purges_waiting",
            "Purges that wait, second ones included, of all processes; 10,000 stands for that or "
            "more.",
            ["cdn"],
            registry=registry,
        )
        self._parked = Gauge(
            "mediastore_cdn_purges_parked",
            "Purges that are tried no more until somebody asks; 10,000 likewise.",
            ["cdn"],
            registry=registry,
        )
        self._oldest = Gauge(
            "mediastore_cdn_purges_oldest_unsent_seconds",
            "Age of the oldest purge that a CDN has not got once.",
            ["cdn"],
            registry=registry,
        )

    def saw(self, standing: CdnStanding) -> None:
        """What waits for a CDN now."""
        if standing.cdn in self.outcomes:
            self._waiting.labels(standing.cdn).set(standing.waiting)
            self._parked.labels(standing.cdn).set(standing.parked)
            self._oldest.labels(standing.cdn).set(standing.oldest_unsent_seconds)
