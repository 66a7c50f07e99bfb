"""Counts by stage and hour that triggers keep, for answers that must not count (`status`).

Exact, whatever the size; the rules are in migrations/0015_pre_counts_and_holds.sql.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from mediastore.catalog.collection import StageAmount
from mediastore.catalog.pool import Catalog

FOLDED_CHANGES = 10_000
LOOKED_AT_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class HourCount:
    """What is at one stage with one deciding hour: of the purge for trash, else when it came."""

    stage: str
    hour: datetime
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Glance:
    """A stage that was looked at; with `exact` false there is more than this."""

    amount: StageAmount
    exact: bool


async def hour_counts(catalog: Catalog) -> list[HourCount]:
    return [HourCount(*row) for row in await catalog.fetch("stage_counts")]


@dataclass(frozen=True, slots=True)
class KeptCounts:
    """What of what would be due is kept: by holds, or with blobs that were put aside. There may be
    more of the stages `at_least`.
    """

    held: tuple[HourCount, ...] = ()
    aside: tuple[HourCount, ...] = ()
    at_least: tuple[str, ...] = ()


async def kept_counts(catalog: Catalog, *, revive_seconds: int, window_seconds: int) -> KeptCounts:
    """Looks at the first rows of each stage that are due."""
    rows = await catalog.fetch("held_due", revive_seconds, window_seconds, LOOKED_AT_ROWS)
    looked: Counter[str] = Counter()
    for row in rows:
        looked[row["stage"]] += row["looked"]
    return KeptCounts(
        tuple(
            HourCount(row["stage"], row["hour"], row["count"], row["bytes"])
            for row in rows
            if row["count"]
        ),
        tuple(
            HourCount(row["stage"], row["hour"], row["aside_count"], row["aside_bytes"])
            for row in rows
            if row["aside_count"]
        ),
        tuple(stage for stage, rows in looked.items() if rows >= LOOKED_AT_ROWS),
    )


async def fold_changes(catalog: Catalog) -> int:
    """Add up to FOLDED_CHANGES changes to the counts; how many."""
    folded: int = await catalog.fetch_value("stage_changes_fold", FOLDED_CHANGES)
    return folded


async def rebuild_counts(catalog: Catalog) -> None:
    """Count everything anew, with nobody changing it: for what was filled past the triggers."""
    await catalog.execute("stage_counts_rebuild")


async def glance_at_stages(catalog: Catalog) -> dict[str, Glance]:
    """Stages whose counts are not kept, because their tables are short."""
    return {
        row["stage"]: Glance(
            StageAmount(row["count"], row["bytes"], row["oldest"]), row["rows"] < LOOKED_AT_ROWS
        )
        for row in await catalog.fetch("uncounted_stages", LOOKED_AT_ROWS)
    }
