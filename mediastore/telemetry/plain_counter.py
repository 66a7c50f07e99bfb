"""A counter for the event loop's thread alone: an addition, without prometheus_client's lock.

For what every read of warm content counts: there, each lock is a fiftieth of the answer's cost.
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class Count:
    """What was counted so far."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Add `amount`, at least 0."""
        self.value += amount


class PlainCounter(Collector):
    """One count, or one for each value of a label."""

    def __init__(self, name: str, text: str, label: str = "", values: tuple[str, ...] = ()) -> None:
        self._name = name
        self._text = text
        self._label = label
        self._counts = {value: Count() for value in values or ("",)}

    def count(self, value: str = "") -> Count:
        """The count of this value of the label."""
        return self._counts[value]

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            self._name, self._text, labels=[self._label] if self._label else None
        )
        for value, count in self._counts.items():
            family.add_metric([value] if self._label else [], count.value)
        yield family
