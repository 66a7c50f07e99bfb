"""What must hold before anything may be removed: delays that are long enough, clocks that agree.

Keeps INV-6 (a doomed key outlives every moment that the database may be restored to).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from mediastore.catalog.collection import CollectorState
from mediastore.clock import Clock
from mediastore.collector_errors import ClockSkew, CollectorPaused, UnsafeDelays
from mediastore.errors import BadSettings
from mediastore.settings import DAY_SECONDS, HOUR_SECONDS, CollectionSettings

# A day: nightly backups reach that far back, and no read that has begun lasts longer.
RECOVERY_WINDOW_MIN_SECONDS = DAY_SECONDS
# An hour: covers clocks that are apart and a backup that ends after it was thought to.
RECOVERY_MARGIN_MIN_SECONDS = HOUR_SECONDS
# An hour: an app that replaces a file by deleting and uploading again finds its blob still there.
REVIVE_DELAY_MIN_SECONDS = HOUR_SECONDS
GONE_BACK_MAX_SECONDS = 1  # clocks are corrected in small steps


@dataclass(frozen=True, slots=True)
class CollectionDelays:
    """The delays of one collector, in seconds.

    `trash_seconds` overrides tenants' policies; None does not.

    Raises BadSettings when they contradict each other, UnsafeDelays when they are shorter than the
    safe minimum and `unsafe` does not accept that.
    """

    revive_seconds: int
    recovery_window_seconds: int
    recovery_margin_seconds: int
    clock_skew_max_seconds: float
    trash_seconds: int | None = None
    unsafe: bool = False

    def __post_init__(self) -> None:
        delays = (self.revive_seconds, self.recovery_window_seconds, self.recovery_margin_seconds)
        if min(delays) < 0 or (self.trash_seconds is not None and self.trash_seconds < 0):
            raise BadSettings("a delay cannot be negative")
        if self.unsafe:
            return
        too_short = [
            f"{name} is {value} s, at least {minimum} s is safe"
            for name, value, minimum in (
                ("the revive delay", self.revive_seconds, REVIVE_DELAY_MIN_SECONDS),
                ("the recovery window", self.recovery_window_seconds, RECOVERY_WINDOW_MIN_SECONDS),
                ("the recovery margin", self.recovery_margin_seconds, RECOVERY_MARGIN_MIN_SECONDS),
            )
            if value < minimum
        ]
        if self.trash_seconds is not None:
            too_short.append("the tenants' trash policy is overridden")
        if too_short:
            raise UnsafeDelays(
                f"{'; '.join(too_short)}. --unsafe-delays accepts that bytes may be lost"
            )
        if self.recovery_margin_seconds < 2 * self.clock_skew_max_seconds:
            raise BadSettings(
                "the recovery margin must be at least twice clock_skew_max_seconds: a clock "
                "that is off at a key's doom, and the other way at its claim, must not use it up"
            )

    @property
    def window_seconds(self) -> int:
        """How long a doomed key is kept (INV-6)."""
        return self.recovery_window_seconds + self.recovery_margin_seconds

    @classmethod
    def from_settings(
        cls,
        settings: CollectionSettings,
        *,
        revive_seconds: int | None = None,
        recovery_window_seconds: int | None = None,
        recovery_margin_seconds: int | None = None,
        trash_seconds: int | None = None,
        unsafe: bool = False,
    ) -> Self:
        """The settings' delays; each of the others, where given, instead."""

        def chosen(given: int | None, configured: int) -> int:
            return configured if given is None else given

        return cls(
            revive_seconds=chosen(revive_seconds, settings.revive_delay_seconds),
            recovery_window_seconds=chosen(
                recovery_window_seconds, settings.recovery_window_seconds
            ),
            recovery_margin_seconds=chosen(
                recovery_margin_seconds, settings.recovery_margin_seconds
            ),
            clock_skew_max_seconds=settings.clock_skew_max_seconds,
            trash_seconds=trash_seconds,
            unsafe=unsafe,
        )


def check_state(state: CollectorState, host_now: datetime, skew_max_seconds: float) -> None:
    """May a collector run? The database asks the same before each batch.

    Raises CollectorPaused, ClockSkew.
    """
    if state.paused_at is not None:
        raise CollectorPaused(f"paused: {state.paused_why or 'no reason was given'}")
    _ = check_skew(state, host_now, skew_max_seconds)
    behind = seconds_gone_back(state)
    if behind > 0:
        raise ClockSkew(f"the database's clock went back by {behind:.0f} s")


def check_skew(state: CollectorState, host_now: datetime, skew_max_seconds: float) -> float:
    """Seconds between the database's clock and this host's. Raises ClockSkew."""
    skew = abs((state.now - host_now).total_seconds())
    if skew > skew_max_seconds:
        raise ClockSkew(f"the database's clock and this host's are {skew:.0f} s apart")
    return skew


def seconds_gone_back(state: CollectorState) -> float:
    """By how much the database's clock went back; 0 where that is within GONE_BACK_MAX_SECONDS."""
    behind = (state.clock_high - state.now).total_seconds()
    return behind if behind > GONE_BACK_MAX_SECONDS else 0


class ClockWatch:
    """Notices a database clock that leaps.

    Two of its readings must lie as far apart as this host measured.
    """

    def __init__(self, clock: Clock, *, skew_max_seconds: float) -> None:
        self._clock = clock
        self._skew_max_seconds = skew_max_seconds
        self._first: tuple[float, datetime] | None = None

    def check(self, database_now: datetime) -> None:
        """Raises ClockSkew."""
        reading = (self._clock.monotonic(), database_now)
        if self._first is None:
            self._first = reading
            return
        measured = reading[0] - self._first[0]
        claimed = (reading[1] - self._first[1]).total_seconds()
        if abs(claimed - measured) > self._skew_max_seconds:
            raise ClockSkew(
                f"the database's clock moved {claimed:.0f} s while {measured:.0f} s passed here"
            )
