"""What people ask of a plan beside its amounts: by tenant, by age, and its requests."""

from dataclasses import dataclass

from mediastore.catalog.planning import AgeShare, TenantShare, due_by_age, due_by_tenant
from mediastore.catalog.pool import Catalog
from mediastore_gc.plan import Plan
from mediastore_gc.safety import CollectionDelays

# Each batch looks at the marker before its claim and again before it raises it.
MARKER_READS_PER_BATCH = 2


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests to the store for what is ready now; `recount_chunks` are read in the database."""

    delete_many: int
    marker_reads: int
    marker_writes: int
    recount_chunks: int


@dataclass(frozen=True, slots=True)
class PlanDetails:
    tenants: tuple[TenantShare, ...]
    ages: tuple[AgeShare, ...]
    requests: Requests


async def plan_details(
    catalog: Catalog, plan: Plan, delays: CollectionDelays, *, batch_keys: int
) -> PlanDetails:
    tenants = await due_by_tenant(
        catalog, trash_seconds=delays.trash_seconds, revive_seconds=delays.revive_seconds
    )
    ages = await due_by_age(
        catalog,
        trash_seconds=delays.trash_seconds,
        revive_seconds=delays.revive_seconds,
        window_seconds=delays.window_seconds,
    )
    return PlanDetails(tuple(tenants), tuple(ages), count_requests(plan, batch_keys))


def count_requests(plan: Plan, batch_keys: int) -> Requests:
    """Keys are deleted by batches, each with a claim of its own."""
    unrecounted = plan.stages["doomed_unrecounted"].count
    batches = -(-(plan.stages["doomed_due"].count + unrecounted) // batch_keys)
    return Requests(
        delete_many=batches,
        marker_reads=MARKER_READS_PER_BATCH * batches,
        marker_writes=batches,
        recount_chunks=plan.total.count if unrecounted else 0,
    )
