"""The metrics of several processes as those of one.

What counts is added up, and goes on counting when a process has ended: a scraper never sees a sum
fall. Gauges are added up as well, but for those that every process reads from the same place, or
that are a maximum: of these the largest holds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

LARGEST: Final = frozenset(
    {
        "mediastore_cdn_purges_oldest_unsent_seconds",
        "mediastore_cdn_purges_parked",
        "mediastore_cdn_purges_waiting",
        "mediastore_disk_cache_bytes",
        "mediastore_events_oldest_waiting_seconds",
        "mediastore_events_parked",
        "mediastore_events_waiting",
        "mediastore_image_worker_peak_bytes",
        "mediastore_pictures_oldest_waiting_seconds",
        "mediastore_pictures_waiting",
    }
)
_COUNTED: Final = frozenset({"counter", "histogram"})
_Sample = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class _Family:
    kind: str
    text: str
    samples: dict[_Sample, float] = field(default_factory=dict)


def snapshot(registry: CollectorRegistry) -> list[Any]:
    """All that a registry has now, as JSON can say it."""
    return [
        [
            metric.name,
            metric.type,
            metric.documentation,
            [[sample.name, sample.labels, sample.value] for sample in metric.samples],
        ]
        for metric in registry.collect()
    ]


class Merged(Collector):
    """The sum of the snapshots that it is given, each in the place of the worker's last one."""

    def __init__(self) -> None:
        self._latest: dict[int, list[Any]] = {}
        self._departed: dict[str, _Family] = {}

    def saw(self, worker: int, snapshot: list[Any]) -> None:
        """What a running worker has now."""
        self._latest[worker] = snapshot

    def departed(self, worker: int) -> None:
        """It has ended: what it counted stays, what it measured is no more."""
        _add(self._departed, self._latest.pop(worker, []), only=_COUNTED)

    def collect(self) -> Iterator[Metric]:
        families = {
            name: _Family(family.kind, family.text, dict(family.samples))
            for name, family in self._departed.items()
        }
        for snapshot in self._latest.values():
            _add(families, snapshot)
        for name, family in families.items():
            metric = Metric(name, family.text, family.kind)
            for (sample, labels), value in family.samples.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric


def _add(
    families: dict[str, _Family], snapshot: Iterable[Any], only: frozenset[str] | None = None
) -> None:
    for name, kind, text, samples in snapshot:
        if only is not None and kind not in only:
            continue
        family = families.setdefault(name, _Family(kind, text))
        for sample, labels, value in samples:
            key = (sample, tuple(labels.items()))
            before = family.samples.get(key)
            if before is None:
                family.samples[key] = value
            elif sample.endswith("_created"):
                family.samples[key] = min(before, value)
            elif name in LARGEST:
                family.samples[key] = max(before, value)
            else:
                family.samples[key] = before + value
