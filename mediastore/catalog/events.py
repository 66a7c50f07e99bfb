"""The outbox: events that were recorded in the transaction they tell of, on their way to webhooks.

A claim is an event whose `retry_at` lies behind it; it ends by delivery, by being put off or by
being parked, and a claim that its process did not live to end comes back by itself. Each function
is one short transaction: none is open while a message is under way.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from mediastore.catalog.pool import Catalog

COUNTED_MAX = 10_000  # of what waits and of what is parked: that there are very many is enough


@dataclass(frozen=True, slots=True)
class ClaimedEvent:
    """An event that this process is to deliver now. `attempts` counts this claim, and names it."""

    id: int
    key: UUID
    tenant: str
    kind: str
    payload: dict[str, Any]
    created_at: datetime
    attempts: int
    url: str
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as an operator sees it; `retry_at` is when it is tried (again)."""

    key: UUID
    tenant: str
    kind: str
    created_at: datetime
    attempts: int
    retry_at: datetime
    parked_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, of all tenants that have a webhook; each number is `COUNTED_MAX` at most."""

    waiting: int = 0
    parked: int = 0
    oldest_waiting_seconds: float = 0.0


async def claim_events(
    catalog: Catalog,
    *,
    limit: int,
    each: int,
    under_way: Mapping[str, int],
    claim_seconds: float,
) -> list[ClaimedEvent]:
    """Up to `limit` events that are due: `each` of a tenant, less what is under way for it."""
    rows = await catalog.fetch(
        "events_claim", limit, each, list(under_way), list(under_way.values()), claim_seconds
    )
    return [
        ClaimedEvent(
            row["id"],
            row["key"],
            row["tenant"],
            row["kind"],
            json.loads(row["payload"]),
            row["created_at"],
            row["attempts"],
            row["url"],
            tuple(row["secrets"]),
        )
        for row in rows
    ]


async def event_delivered(catalog: Catalog, event: ClaimedEvent) -> None:
    """The receiver has it: its row goes, unless another claim has taken the event over."""
    await catalog.execute("event_delivered", event.id, event.attempts)


async def put_event_off(catalog: Catalog, event: ClaimedEvent, *, seconds: float, why: str) -> None:
    """Try it again after a while."""
    await catalog.execute("event_put_off", event.id, event.attempts, seconds, why)


async def park_event(catalog: Catalog, event: ClaimedEvent, *, why: str) -> None:
    """Keep it, and try no more until somebody asks for it."""
    await catalog.execute("event_park", event.id, event.attempts, why)


async def events_backlog(catalog: Catalog, *, counted_max: int = COUNTED_MAX) -> Backlog:
    """Measured at the ends of indexes, however much there is."""
    row = await catalog.fetch_row("events_backlog", counted_max)
    return Backlog() if row is None else Backlog(**dict(row))


async def list_events(
    catalog: Catalog, *, tenant: str | None, parked: bool, limit: int
) -> list[EventRecord]:
    """The oldest first."""
    rows = await catalog.fetch("events_list", tenant, parked, limit)
    return [EventRecord(**dict(row)) for row in rows]


async def retry_events(catalog: Catalog, *, tenant: str | None, key: UUID | None) -> int:
    """Try one event, or all parked ones (of a tenant), now and as if they were new; how many."""
    changed: int = await catalog.fetch_value("events_retry", tenant, key)
    return changed
