"""What is due for collection, by tenant and by age: for people who look at a plan."""

from dataclasses import dataclass

from mediastore.catalog.pool import Catalog

TENANTS_MAX = 100


@dataclass(frozen=True, slots=True)
class TenantShare:
    """What is due of one tenant. A blob that two tenants had is counted for both."""

    tenant: str
    trash_objects: int
    trash_bytes: int
    garbage_blobs: int
    garbage_bytes: int


@dataclass(frozen=True, slots=True)
class AgeShare:
    """What became due less than `days_under` days ago (None: longer), and not more lately."""

    stage: str
    days_under: int | None
    count: int
    bytes: int


async def due_by_tenant(
    catalog: Catalog, *, trash_seconds: int | None, revive_seconds: int
) -> list[TenantShare]:
    """The TENANTS_MAX with the most bytes first."""
    rows = await catalog.fetch("plan_tenants", trash_seconds, revive_seconds, TENANTS_MAX)
    return [TenantShare(*row) for row in rows]


async def due_by_age(
    catalog: Catalog, *, trash_seconds: int | None, revive_seconds: int, window_seconds: int
) -> list[AgeShare]:
    rows = await catalog.fetch("plan_ages", trash_seconds, revive_seconds, window_seconds)
    return [AgeShare(*row) for row in rows]
