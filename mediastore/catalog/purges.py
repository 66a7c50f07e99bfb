"""What CDNs are to forget: recorded with what took an object away, claimed as events are.

A purge goes out twice: at once, and again after a while, for an answer that was on its way to the
CDN when the object was deleted. Each function is one short transaction; none is open while a CDN is
asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mediastore.catalog.events import COUNTED_MAX
from mediastore.catalog.pool import Catalog

WANTED_SECONDS = 7 * 24 * 3600.0
"""For how long purges for a CDN go on being recorded when no process has told of it."""


@dataclass(frozen=True, slots=True)
class ClaimedPurge:
    """A purge that this process is to send now. `attempts` counts this claim, and names it."""

    id: int
    tag: str
    again: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class PurgeRecord:
    """A purge as an operator sees it; `retry_at` is when it is tried (again)."""

    id: int
    cdn: str
    tag: str
    again: bool
    created_at: datetime
    attempts: int
    retry_at: datetime
    parked_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class CdnStanding:
    """What waits for a CDN; each number is COUNTED_MAX at most. It is not called before
    `next_call_at`.
    """

    cdn: str
    wanted_until: datetime
    next_call_at: datetime | None
    waiting: int
    parked: int
    oldest_unsent_seconds: float


async def want_purges(catalog: Catalog, cdn: str) -> None:
    """From now on purges are recorded for it; to be said again long before WANTED_SECONDS are
    over.
    """
    await catalog.execute("cdn_wanted", cdn, WANTED_SECONDS)


async def claim_purges(
    catalog: Catalog, cdn: str, *, limit: int, pause_seconds: float, claim_seconds: float
) -> list[ClaimedPurge]:
    """What one call to the CDN is to say: all of it first purges, or all of it second ones. Nothing
    while some process may not call it yet.
    """
    rows = await catalog.fetch("purges_claim", cdn, limit, pause_seconds, claim_seconds)
    return [ClaimedPurge(**dict(row)) for row in rows]


async def purges_sent(
    catalog: Catalog, purges: Sequence[ClaimedPurge], *, again: bool, again_seconds: float
) -> None:
    """The CDN has taken them."""
    await catalog.execute("purges_sent", [purge.id for purge in purges], again, again_seconds)


async def purges_failed(
    catalog: Catalog,
    cdn: str,
    purges: Sequence[ClaimedPurge],
    *,
    seconds: Sequence[float],
    attempts_max: int,
    quiet_seconds: float,
    why: str,
) -> int:
    """Try each again after its seconds, and leave the CDN alone for a while; how many were tried
    often enough and are parked.
    """
    parked: int = await catalog.fetch_value(
        "purges_failed",
        cdn,
        [purge.id for purge in purges],
        [purge.attempts for purge in purges],
        seconds,
        attempts_max,
        quiet_seconds,
        why,
    )
    return parked


async def cdn_standings(catalog: Catalog) -> list[CdnStanding]:
    """Of every CDN that a process has told of."""
    rows = await catalog.fetch("purges_standing", COUNTED_MAX)
    return [CdnStanding(**dict(row)) for row in rows]


async def list_purges(
    catalog: Catalog, *, cdn: str | None, parked: bool, limit: int
) -> list[PurgeRecord]:
    """The oldest first."""
    rows = await catalog.fetch("purges_list", cdn, parked, limit)
    return [PurgeRecord(**dict(row)) for row in rows]


async def retry_purges(catalog: Catalog, *, cdn: str | None) -> int:
    """Try parked ones (of a CDN) now and as if they were new; how many."""
    changed: int = await catalog.fetch_value("purges_retry", cdn)
    return changed


async def sweep_purges(catalog: Catalog, limit: int) -> int:
    """Drop up to `limit` purges for CDNs that no process has told of for WANTED_SECONDS."""
    swept: int = await catalog.fetch_value("purges_sweep", limit)
    return swept
