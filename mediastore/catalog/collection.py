"""What the collector asks of the catalog: one function is one batch in one transaction.

Rows first, bytes later (INV-5); the rules are in migrations/0004_pre_collection_functions.sql.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from mediastore.catalog.dropping import RELEASED_ROWS_MAX
from mediastore.catalog.pool import Catalog
from mediastore.errors import InvariantBroken

SAMPLED_PAGES = 10_000
BYTES_UNLIMITED = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class CollectorState:
    """The row that collectors agree on. `now` is the database's clock (INV-6)."""

    incarnation: UUID
    batch_counter: int
    clock_high: datetime
    paused_at: datetime | None
    paused_why: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class StageAmount:
    """How much waits at one stage. `next_due`: when the first of it moves on."""

    count: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    next_due: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChunksTotal:
    """All chunk rows; estimated from a sample of pages where the table is large."""

    count: int
    bytes: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Expired:
    """One batch of expired uploads: how many were dropped, their acknowledged bytes that never
    became an object, and how many references were given up. One of very many references takes
    several batches.
    """

    uploads: int
    bytes: int
    entries: int


@dataclass(frozen=True, slots=True)
class Released:
    """One batch of released references, and the keys that it doomed."""

    entries: int
    doomed_keys: int
    doomed_bytes: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class DoomedKey:
    """A key that never comes back (INV-3)."""

    hash: bytes
    generation: int
    size: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Keys that this worker alone may delete now.

    `counter` is the claim's number, `kept` were not cleared.
    """

    counter: int
    kept: int
    keys: tuple[DoomedKey, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a collector."""

    id: int
    worker: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    counts: dict[str, int]


def _one(row: asyncpg.Record | None) -> asyncpg.Record:
    if row is None:
        raise InvariantBroken("the catalog lacks the row that collectors agree on")
    return row


async def collector_state(catalog: Catalog) -> CollectorState:
    row = _one(await catalog.fetch_row("collector_state"))
    return CollectorState(**dict(row))


async def lock_collector(
    catalog: Catalog, incarnation: UUID, *, host_time: datetime, skew_max_seconds: float
) -> datetime:
    """Pass the guards and return the database's time.

    Raises DatabaseRestored (another incarnation), CollectorPaused, ClockSkew.
    """
    row = _one(await catalog.fetch_row("collector_lock", incarnation, host_time, skew_max_seconds))
    now: datetime = row["now"]
    return now


async def pause_collector(catalog: Catalog, why: str) -> None:
    await catalog.execute("collector_pause", why)


async def resume_collector(catalog: Catalog) -> None:
    await catalog.execute("collector_resume")


async def stage_amounts(
    catalog: Catalog,
    *,
    trash_seconds: int | None,
    revive_seconds: int,
    window_seconds: int,
    claim_timeout_seconds: int,
    erasure_wait_seconds: int,
) -> dict[str, StageAmount]:
    """Amounts by stage; a stage with nothing in it may be absent."""
    rows = await catalog.fetch(
        "collection_stages",
        trash_seconds,
        revive_seconds,
        window_seconds,
        claim_timeout_seconds,
        erasure_wait_seconds,
    )
    return {
        row["stage"]: StageAmount(row["count"], row["bytes"], row["oldest"], row["next_due"])
        for row in rows
    }


async def chunks_total(catalog: Catalog, *, pages_max: int = SAMPLED_PAGES) -> ChunksTotal:
    """Count and bytes of all chunks, reading at most about `pages_max` pages."""
    pages = await catalog.fetch_value("chunks_pages")
    percent = min(100.0, 100.0 * pages_max / pages)
    row = _one(await catalog.fetch_row("chunks_total", percent))
    exact = percent == 100.0
    scale = 1.0 if exact or row["pages"] == 0 else pages / row["pages"]
    return ChunksTotal(round(row["count"] * scale), round(row["bytes"] * scale), exact)


async def expire_uploads(
    catalog: Catalog, limit: int, *, entries_max: int = RELEASED_ROWS_MAX
) -> Expired:
    """Drop up to `limit` expired uploads, giving up about `entries_max` references at most."""
    row = _one(await catalog.fetch_row("uploads_expire", limit, entries_max))
    return Expired(**dict(row))


async def release_references(catalog: Catalog, limit: int) -> Released:
    row = _one(await catalog.fetch_row("references_release", limit))
    return Released(**dict(row))


async def claim_doomed(
    catalog: Catalog,
    incarnation: UUID,
    *,
    marker_counter: int,
    host_time: datetime,
    skew_max_seconds: float,
    window_seconds: int,
    limit: int,
    bytes_max: int = BYTES_UNLIMITED,
    claim_timeout_seconds: int,
) -> Claim:
    """Claim keys past the window that a recount has cleared and no hold keeps (INV-6, INV-7).

    Committed when this returns.

    Raises DatabaseRestored (counter behind the marker, or another incarnation), CollectorPaused,
    ClockSkew, InvariantBroken.
    """
    row = _one(
        await catalog.fetch_row(
            "doomed_claim",
            incarnation,
            marker_counter,
            host_time,
            skew_max_seconds,
            window_seconds,
            limit,
            bytes_max,
            claim_timeout_seconds,
        )
    )
    keys = zip(row["hashes"], row["generations"], row["sizes"], strict=True)
    return Claim(row["counter"], row["kept"], tuple(DoomedKey(*key) for key in keys))


async def forget_doomed(catalog: Catalog, keys: Sequence[DoomedKey]) -> int:
    """Remove the rows of keys that the store has deleted; how many were still there."""
    forgotten: int = await catalog.fetch_value(
        "doomed_forget", [key.hash for key in keys], [key.generation for key in keys]
    )
    return forgotten


async def refuse_doomed(catalog: Catalog, refused: Sequence[tuple[DoomedKey, str]]) -> None:
    """Give claims back whose keys the store did not delete; tried again after a growing pause."""
    await catalog.execute(
        "doomed_refused",
        [key.hash for key, _ in refused],
        [key.generation for key, _ in refused],
        [error for _, error in refused],
    )


async def start_run(catalog: Catalog, worker: str) -> int:
    run: int = await catalog.fetch_value("run_start", worker)
    return run


async def record_progress(catalog: Catalog, run: int, counts: Mapping[str, int]) -> None:
    await catalog.execute("run_progress", run, json.dumps(counts))


async def finish_run(catalog: Catalog, run: int, outcome: str, counts: Mapping[str, int]) -> None:
    await catalog.execute("run_finish", run, outcome, json.dumps(counts))


async def recent_runs(catalog: Catalog, limit: int) -> list[RunRecord]:
    rows = await catalog.fetch("runs_recent", limit)
    return [RunRecord(**{**dict(row), "counts": json.loads(row["counts"])}) for row in rows]


async def reclaimed_since(catalog: Catalog, seconds: int) -> tuple[int, int]:
    """Keys and bytes that runs begun in the last `seconds` have deleted."""
    row = _one(await catalog.fetch_row("reclaimed_since", seconds))
    return row["count"], row["bytes"]


async def sweep(
    catalog: Catalog,
    *,
    window_seconds: int,
    purged_seconds: int,
    recounts_seconds: int,
    runs_seconds: int,
    events_seconds: int,
    limit: int,
) -> int:
    """Drop up to `limit` each of the tombstones, keys and records that are past their use."""
    swept: list[Any] = [
        await catalog.fetch_value("tombstones_sweep", window_seconds, limit),
        await catalog.fetch_value("purged_objects_sweep", purged_seconds, limit),
        await catalog.fetch_value("idempotency_keys_sweep", limit),
        await catalog.fetch_value("concatenations_sweep", limit),
        await catalog.fetch_value("recounts_sweep", recounts_seconds),
        await catalog.fetch_value("runs_sweep", runs_seconds, limit),
        await catalog.fetch_value("events_sweep", events_seconds, limit),
    ]
    return sum(swept)
