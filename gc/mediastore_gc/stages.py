"""What kept counts mean at a moment: what waits, is due or overdue, and when space comes back.

Counts are by the hour, so an hour's items count as due once the last of them is: never too early,
and up to an hour late. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mediastore.catalog.collection import StageAmount
from mediastore.catalog.counts import HourCount
from mediastore.settings import DAY_SECONDS, HOUR_SECONDS, CollectionSettings

# What was due this long ago and is still there: no collector runs, or something holds it up.
OVERDUE_SECONDS = DAY_SECONDS
HORIZONS_SECONDS = (0, DAY_SECONDS, 7 * DAY_SECONDS, 30 * DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class ComingBack:
    """Bytes that may come back within so many seconds, behind those of the horizon before it; None:
    later. At most: what is deleted may share chunks with what is not.
    """

    within_seconds: int | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Amounts by stage at a moment, those of them that are overdue, and when space comes back."""

    stages: Mapping[str, StageAmount]
    overdue: Mapping[str, StageAmount]
    coming_back: tuple[ComingBack, ...]


def judge(
    counts: Iterable[HourCount],
    *,
    now: datetime,
    settings: CollectionSettings,
    recounted_at: datetime | None,
    held: Iterable[HourCount] = (),
    aside: Iterable[HourCount] = (),
) -> Standing:
    """`recounted_at`: when the newest complete recount began; `held`: what of the counts holds
    keep, `aside`: what is with blobs that were put aside. Neither is due nor coming back.
    """
    left = {(item.stage, item.hour): item for item in aside}
    kept = {(item.stage, item.hour): item for item in held}
    revive = timedelta(seconds=settings.revive_delay_seconds)
    window = timedelta(seconds=settings.window_seconds)
    waits = {"trash": timedelta(0), "garbage": revive}
    returns = {
        "trash": revive + window,
        "garbage": revive + window,
        "doomed_erased": timedelta(seconds=settings.erasure_wait_seconds),
    }
    stages: dict[str, StageAmount] = {}
    overdue: dict[str, StageAmount] = {}
    back = dict.fromkeys((*HORIZONS_SECONDS, None), 0)
    for each in counts:
        counted, _ = _parted(each, left.get((each.stage, each.hour)))
        item, keep = _parted(counted, kept.get((counted.stage, counted.hour)))
        if keep.count:
            amount = StageAmount(keep.count, keep.bytes, keep.hour)
            stages[f"{keep.stage}_held"] = _joined(stages.get(f"{keep.stage}_held"), amount)
        if not item.count and not item.bytes:
            continue
        end = item.hour + timedelta(seconds=HOUR_SECONDS)
        due = end + waits.get(item.stage, window)
        stage = _stage(item.stage, due=due <= now, recounted=_by(end, recounted_at))
        amount = StageAmount(item.count, item.bytes, item.hour, due)
        stages[stage] = _joined(stages.get(stage), amount)
        if due + timedelta(seconds=OVERDUE_SECONDS) <= now:
            overdue[stage] = _joined(overdue.get(stage), amount)
        back[_horizon((end + returns.get(item.stage, window) - now).total_seconds())] += item.bytes
    return Standing(
        stages, overdue, tuple(ComingBack(within, size) for within, size in back.items())
    )


def _parted(counted: HourCount, held: HourCount | None) -> tuple[HourCount, HourCount]:
    """Without what is kept, and that. They were not counted in one moment."""
    count = min(counted.count, 0 if held is None else held.count)
    size = min(counted.bytes, 0 if held is None else held.bytes)
    rest = replace(counted, count=counted.count - count, bytes=counted.bytes - size)
    return rest, replace(counted, count=count, bytes=size)


def _stage(counted: str, *, due: bool, recounted: bool) -> str:
    if counted in ("trash", "garbage"):
        return f"{counted}_due" if due else f"{counted}_waiting"
    if counted != "doomed":
        return counted
    if not due:
        return "doomed_waiting"
    return "doomed_due" if recounted else "doomed_unrecounted"


def _by(end: datetime, moment: datetime | None) -> bool:
    return moment is not None and end <= moment


def _joined(one: StageAmount | None, other: StageAmount) -> StageAmount:
    """Counts come by ascending hour, so the first has the oldest."""
    if one is None:
        return other
    return replace(one, count=one.count + other.count, bytes=one.bytes + other.bytes)


def _horizon(seconds: float) -> int | None:
    return next((within for within in HORIZONS_SECONDS if seconds <= within), None)
