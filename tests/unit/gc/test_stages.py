"""Kept counts at a moment: never due too early, up to an hour late, and every byte told of once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mediastore_gc.stages import OVERDUE_SECONDS, judge

from mediastore.catalog.counts import HourCount
from mediastore.settings import CollectionSettings

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SETTINGS = CollectionSettings()
REVIVE = timedelta(seconds=SETTINGS.revive_delay_seconds)
WINDOW = timedelta(seconds=SETTINGS.recovery_window_seconds + SETTINGS.recovery_margin_seconds)
WAITS = {"trash": timedelta(0), "garbage": REVIVE, "doomed": WINDOW}


def one(stage: str, now: datetime, recounted_at: datetime | None = None) -> dict[str, int]:
    standing = judge(
        [HourCount(stage, START, 3, 30)], now=now, settings=SETTINGS, recounted_at=recounted_at
    )
    return {name: amount.count for name, amount in standing.stages.items()}


@pytest.mark.parametrize(
    ("stage", "due"), [("trash", "trash_due"), ("garbage", "garbage_due"), ("doomed", "doomed_due")]
)
def test_due_when_the_last_of_its_hour_is(stage: str, due: str) -> None:
    moment = START + HOUR + WAITS[stage]
    assert one(stage, moment - timedelta(seconds=1), START + HOUR) == {f"{stage}_waiting": 3}
    assert one(stage, moment, START + HOUR) == {due: 3}


def test_a_recount_clears_only_what_was_doomed_before_it_began() -> None:
    late = START + 100 * DAY
    assert one("doomed", late) == {"doomed_unrecounted": 3}
    assert one("doomed", late, START + HOUR - timedelta(seconds=1)) == {"doomed_unrecounted": 3}
    assert one("doomed", late, START + HOUR) == {"doomed_due": 3}


def test_what_its_row_says_is_believed() -> None:
    assert one("doomed_claimed", START) == {"doomed_claimed": 3}


def test_overdue_is_a_day_behind_due() -> None:
    due = START + HOUR + REVIVE
    for now, overdue in ((due, set()), (due + timedelta(seconds=OVERDUE_SECONDS), {"garbage_due"})):
        standing = judge(
            [HourCount("garbage", START, 1, 1)], now=now, settings=SETTINGS, recounted_at=None
        )
        assert set(standing.overdue) == overdue


hours = st.integers(-1000, 1000).map(lambda n: START + n * HOUR)
counts = st.builds(
    HourCount,
    st.sampled_from(["trash", "garbage", "doomed", "doomed_claimed", "doomed_refused"]),
    hours,
    st.integers(1, 10**9),
    st.integers(0, 10**15),
)


@given(st.lists(counts), st.one_of(st.none(), hours))
def test_nothing_is_left_out_or_told_twice(
    items: list[HourCount], recounted_at: datetime | None
) -> None:
    items.sort(key=lambda item: (item.stage, item.hour))
    standing = judge(items, now=START, settings=SETTINGS, recounted_at=recounted_at)
    assert sum(a.count for a in standing.stages.values()) == sum(i.count for i in items)
    assert sum(a.bytes for a in standing.stages.values()) == sum(i.bytes for i in items)
    assert sum(back.bytes for back in standing.coming_back) == sum(i.bytes for i in items)
    for stage, amount in standing.overdue.items():
        assert amount.count <= standing.stages[stage].count
        assert amount.oldest == standing.stages[stage].oldest


def test_what_is_held_is_neither_due_nor_overdue_nor_coming_back() -> None:
    """Counts and holds are not read in one moment: more held than there is, is all there is."""
    kept = [HourCount("garbage", START, 3, 30), HourCount("garbage", START + HOUR, 2, 20)]
    held = [HourCount("garbage", START, 1, 10), HourCount("garbage", START + HOUR, 5, 50)]
    standing = judge(kept, now=START + 100 * DAY, settings=SETTINGS, recounted_at=None, held=held)
    amounts = {name: (a.count, a.bytes) for name, a in standing.stages.items()}
    assert amounts == {"garbage_due": (2, 20), "garbage_held": (3, 30)}
    assert standing.overdue["garbage_due"].count == 2
    assert sum(back.bytes for back in standing.coming_back) == 20
