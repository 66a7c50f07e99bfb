"""What a run would do, and the brake on how much is allowed. Making a plan changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from mediastore.catalog.collection import (
    ChunksTotal,
    StageAmount,
    chunks_total,
    reclaimed_since,
    stage_amounts,
)
from mediastore.catalog.pool import Catalog
from mediastore.collector_errors import CollectorRefused
from mediastore.settings import DAY_SECONDS, CollectionSettings
from mediastore_gc.safety import CollectionDelays

STAGES = (
    "erasures",
    "uploads_expired",
    "trash_waiting",
    "trash_due",
    "trash_held",
    "garbage_waiting",
    "garbage_due",
    "garbage_held",
    "unlinking",
    "doomed_waiting",
    "doomed_erased",
    "doomed_held",
    "doomed_unrecounted",
    "doomed_due",
    "doomed_claimed",
    "doomed_refused",
    "doomed_kept",
    "quarantine",
    "blob_quarantine",
    "damaged",
)
DUE_STAGES = (
    "erasures",
    "uploads_expired",
    "trash_due",
    "garbage_due",
    "unlinking",
    "doomed_unrecounted",
    "doomed_due",
)
_WAITING_STAGES = ("trash_waiting", "garbage_waiting", "doomed_waiting", "doomed_erased")
_DOOMED_STAGES = tuple(stage for stage in STAGES if stage.startswith("doomed_"))


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Amounts by stage at one moment, and how much a run may delete. Executed at most once."""

    stages: Mapping[str, StageAmount]
    total: ChunksTotal
    deleted_last_day_bytes: int
    delete_share_max: float
    delete_share_floor_bytes: int

    @property
    def is_empty(self) -> bool:
        """Is there nothing to do now?"""
        return all(self.stages[stage].count == 0 for stage in DUE_STAGES)

    @property
    def to_delete_bytes(self) -> int:
        """Bytes that a run would doom or delete, at most: blobs may share chunks."""
        ready = self.stages["doomed_due"].bytes + self.stages["doomed_unrecounted"].bytes
        return ready + self.stages["garbage_due"].bytes + self.stages["trash_freed"].bytes

    @property
    def all_bytes(self) -> int:
        """Everything that the store holds, as the catalog knows it."""
        return self.total.bytes + sum(self.stages[stage].bytes for stage in _DOOMED_STAGES)

    @property
    def allowed_a_day_bytes(self) -> int:
        """What all collectors together may delete in a day."""
        share = int(self.delete_share_max * (self.all_bytes + self.deleted_last_day_bytes))
        return max(share, self.delete_share_floor_bytes)

    @property
    def allowed_bytes(self) -> int:
        """What a run may still delete today."""
        return max(0, self.allowed_a_day_bytes - self.deleted_last_day_bytes)

    @property
    def seconds_to_next(self) -> float | None:
        """When the first of what waits moves on, from the oldest reading; None: nothing waits."""
        due = [self.stages[stage].next_due for stage in _WAITING_STAGES]
        now = self.stages["now"].oldest
        known = [moment for moment in due if moment is not None]
        return None if not known or now is None else (min(known) - now).total_seconds()

    def check_share(self) -> None:
        """Raises CollectorRefused when the run would delete too large a share of all bytes."""
        if self.to_delete_bytes > self.allowed_bytes and self.to_delete_bytes > 0:
            raise CollectorRefused(
                f"this run would delete up to {self.to_delete_bytes} of {self.all_bytes} bytes "
                f"({self.deleted_last_day_bytes} were deleted in the last day); "
                f"{self.allowed_bytes} are allowed. If that is meant, raise --delete-share-max"
            )


async def check_share_of_day(catalog: Catalog, plan: Plan) -> None:
    """Each collector plans its own share; the limit is for what all of them have deleted. Every one
    records its batch before the next, so a batch each is the most that goes past it.

    Raises CollectorRefused.
    """
    _, deleted = await reclaimed_since(catalog, DAY_SECONDS)
    if deleted > plan.allowed_a_day_bytes:
        raise CollectorRefused(
            f"{deleted} bytes were deleted in the last day, {plan.allowed_a_day_bytes} are "
            "allowed; more has become due since the plan, or other collectors delete as well. "
            "Run again to look at it"
        )


async def make_plan(
    catalog: Catalog, settings: CollectionSettings, delays: CollectionDelays
) -> Plan:
    """Look at every stage."""
    found = await stage_amounts(
        catalog,
        trash_seconds=delays.trash_seconds,
        revive_seconds=delays.revive_seconds,
        window_seconds=delays.window_seconds,
        claim_timeout_seconds=settings.claim_timeout_seconds,
        erasure_wait_seconds=settings.erasure_wait_seconds,
    )
    _, deleted_bytes = await reclaimed_since(catalog, DAY_SECONDS)
    return Plan(
        {stage: found.get(stage, StageAmount()) for stage in (*STAGES, "trash_freed", "now")},
        await chunks_total(catalog),
        deleted_bytes,
        settings.delete_share_max,
        settings.delete_share_floor_bytes,
    )
