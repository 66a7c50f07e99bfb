"""What those who watch a collector ask beside the kept counts: how audits ended, and retries."""

from dataclasses import dataclass
from datetime import datetime

from mediastore.catalog.counts import LOOKED_AT_ROWS
from mediastore.catalog.pool import Catalog
from mediastore.errors import InvariantBroken

# A key is tried again after 1, 2, 4, 8 minutes: five times is no passing trouble.
RETRIES_ALLOWED = 5


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """How an audit ended. `dangers` cost bytes or could, `leaks` cost space, neither was mended."""

    audit: str
    ended_at: datetime
    complete: bool
    dangers: int
    leaks: int


@dataclass(frozen=True, slots=True)
class Retries:
    """Keys that the store has refused to delete, up to LOOKED_AT_ROWS; `over` have been tried
    RETRIES_ALLOWED times or more.
    """

    keys: int
    over: int
    attempts_max: int


async def record_audit(
    catalog: Catalog, audit: str, *, complete: bool, dangers: int, leaks: int
) -> None:
    await catalog.execute("audit_record", audit, complete, dangers, leaks)


async def newest_audits(catalog: Catalog) -> list[AuditRecord]:
    """The last of each kind."""
    return [AuditRecord(*row) for row in await catalog.fetch("audits_newest")]


async def sweep_audits(catalog: Catalog, kept_seconds: int, limit: int) -> int:
    """Drop old records, but the last of each kind; how many."""
    swept: int = await catalog.fetch_value("audits_sweep", kept_seconds, limit)
    return swept


async def doomed_retries(catalog: Catalog) -> Retries:
    row = await catalog.fetch_row("doomed_retries", RETRIES_ALLOWED, LOOKED_AT_ROWS)
    if row is None:
        raise InvariantBroken("counting refused keys gave no answer")
    return Retries(**dict(row))
