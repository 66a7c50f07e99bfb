"""Progress of long work: how much, how fast, how long still. Says nothing unless it is given a way.

Time left is told from the rate so far, and from an estimate of how much there is in all.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mediastore.clock import Clock

TOLD_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ProgressLine:
    """What is known at one moment. `total` 0: not known."""

    step: str
    done: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """A second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        if not self.rate or self.total < self.done:
            return None
        return (self.total - self.done) / self.rate

    def __str__(self) -> str:
        left = self.seconds_left
        share = f"{100 * self.done / self.total:.1f} %, " if left is not None else ""
        line = f"{self.step}: {share}{self.done:,}, {self.rate:,.0f} a second"
        return line if left is None else f"{line}, {_duration(left)} left"


class Progress:
    """Counts one step behind the other and tells, at most once a second."""

    def __init__(self, clock: Clock, tell: Callable[[ProgressLine], None] | None = None) -> None:
        self._clock = clock
        self._tell = tell
        self._told_at = clock.monotonic()
        self.begin("", 0)

    def begin(self, step: str, total: int) -> None:
        """A new step of about `total` things."""
        self._step, self._total, self._done = step, total, 0
        self._began_at = self._clock.monotonic()

    def advance(self, count: int) -> None:
        self._done += count
        now = self._clock.monotonic()
        if self._tell is not None and now - self._told_at >= TOLD_EVERY_SECONDS:
            self._told_at = now
            self._tell(ProgressLine(self._step, self._done, self._total, now - self._began_at))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
