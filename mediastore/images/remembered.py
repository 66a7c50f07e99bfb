"""What a process believes for a while, and how many of it at most."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from mediastore.clock import Clock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """Values by key; the least recently used are forgotten."""

    def __init__(self, clock: Clock, *, seconds: float, entries_max: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._entries_max = entries_max
        self._entries: OrderedDict[Key, tuple[Value, float]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        found = self._entries.get(key)
        if found is None or found[1] <= self._clock.monotonic():
            return None
        self._entries.move_to_end(key)
        return found[0]

    def keep(self, key: Key, value: Value) -> None:
        if self._seconds <= 0 or self._entries_max == 0:
            return
        self._entries[key] = (value, self._clock.monotonic() + self._seconds)
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def forget(self, key: Key) -> None:
        self._entries.pop(key, None)
