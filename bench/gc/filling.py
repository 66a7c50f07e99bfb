"""Fills a catalog with a known number of realistic rows, in the database itself.

Counts are exact (INV-4, INV-12): tests hold the rows against plain counting. Foreign keys and the
triggers that keep counts by stage are passed over while it fills; those counts are made anew behind
it, by the collector's own function.
"""

import asyncio
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from mediastore.catalog.counts import rebuild_counts
from mediastore.catalog.pool import open_catalog
from mediastore.clock import SystemClock
from mediastore.settings import CatalogSettings

TENANT = "bench"
GROUP_CHUNKS = 306
# Of a group of garbage; its video's first 20 chunks are the next group's video's as well.
GROUP_GARBAGE_CHUNKS = 286
SESSIONS = 2
GARBAGE_DAYS = 30
_SQL = files(__package__).joinpath("filling.sql")


@dataclass(frozen=True, slots=True)
class Shape:
    """About so many chunks that live objects name, and about so many that nothing needs."""

    live_chunks: int
    garbage_chunks: int = 0

    @property
    def garbage_groups(self) -> int:
        return -(-self.garbage_chunks // GROUP_GARBAGE_CHUNKS)

    @property
    def groups(self) -> int:
        return max(1, -(-self.live_chunks // GROUP_CHUNKS) + self.garbage_groups)


async def fill(dsn: str, shape: Shape) -> None:
    """Fill the migrated, empty catalog at `dsn`. A superuser's: triggers are passed over."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("INSERT INTO tenants (id) VALUES ($1)", TENANT)
        await connection.execute(_SQL.read_text(encoding="utf-8"))
        share = -(-shape.groups // SESSIONS)
        await asyncio.gather(
            *(
                _fill_groups(dsn, shape, first, min(first + share - 1, shape.groups))
                for first in range(1, shape.groups + 1, share)
            )
        )
        await connection.execute("VACUUM ANALYZE", timeout=None)
    finally:
        await connection.close()
    async with open_catalog(_patient(dsn), SystemClock()) as catalog:
        await rebuild_counts(catalog)


async def _fill_groups(dsn: str, shape: Shape, first: int, last: int) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(
            f"CALL bench_fill({first}, {last}, {shape.groups}, {shape.garbage_groups}, "
            f"now() - interval '{GARBAGE_DAYS} days')"
        )
    finally:
        await connection.close()


def _patient(dsn: str) -> CatalogSettings:
    return CatalogSettings.model_validate({"dsn": dsn, "statement_timeout_seconds": 600})
