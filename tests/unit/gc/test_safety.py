"""Delays are at least the safe minimum, or somebody accepts the risk; leaping clocks are met."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mediastore_gc.safety import ClockWatch, CollectionDelays

from mediastore.collector_errors import ClockSkew, UnsafeDelays
from mediastore.errors import BadSettings
from mediastore.settings import CollectionSettings

DEFAULTS = CollectionSettings()
DAY, HOUR = 86_400, 3600


def test_the_defaults_are_safe() -> None:
    delays = CollectionDelays.from_settings(DEFAULTS)
    assert delays.window_seconds == 7 * DAY + HOUR


def test_the_minimum_itself_is_safe() -> None:
    delays = CollectionDelays.from_settings(
        DEFAULTS, revive_seconds=HOUR, recovery_window_seconds=DAY, recovery_margin_seconds=HOUR
    )
    assert delays.window_seconds == DAY + HOUR


@pytest.mark.parametrize(
    "short",
    [
        {"revive_seconds": HOUR - 1},
        {"recovery_window_seconds": DAY - 1},
        {"recovery_margin_seconds": HOUR - 1},
        {"trash_seconds": 10**9},
    ],
    ids=str,
)
def test_shorter_ones_need_consent(short: dict[str, Any]) -> None:
    with pytest.raises(UnsafeDelays, match="--unsafe-delays"):
        CollectionDelays.from_settings(DEFAULTS, **short)
    given = CollectionDelays.from_settings(DEFAULTS, unsafe=True, **short)
    assert all(getattr(given, name) == value for name, value in short.items())


@pytest.mark.parametrize("negative", ["revive_seconds", "recovery_window_seconds", "trash_seconds"])
def test_consent_does_not_make_sense_of_nonsense(negative: str) -> None:
    wrong: dict[str, Any] = {negative: -1}
    with pytest.raises(BadSettings):
        CollectionDelays.from_settings(DEFAULTS, unsafe=True, **wrong)


def test_the_margin_outlasts_both_clocks() -> None:
    with pytest.raises(BadSettings, match="margin"):
        CollectionDelays.from_settings(CollectionSettings(clock_skew_max_seconds=1801))


class Steps:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def monotonic(self) -> float:
        return self.elapsed

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        self.elapsed += seconds


@pytest.mark.parametrize(("passed", "claimed"), [(10, 311), (10, -291), (1000, 699)])
def test_a_clock_that_leaps_is_noticed(passed: float, claimed: float) -> None:
    clock = Steps()
    watch = ClockWatch(clock, skew_max_seconds=300)
    watch.check(clock.now())
    clock.elapsed = passed
    watch.check(clock.now() + timedelta(seconds=passed + 300))
    with pytest.raises(ClockSkew):
        watch.check(clock.now() + timedelta(seconds=claimed))
