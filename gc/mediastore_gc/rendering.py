"""What the command line says: the same values as JSON for programs and as lines for people."""

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from mediastore.catalog.collection import StageAmount
from mediastore_gc.collector import RunCounts
from mediastore_gc.plan import DUE_STAGES, STAGES, Plan
from mediastore_gc.status import Status

_LABELS = {
    "uploads_expired": "uploads, expired",
    "trash_waiting": "trash, waiting for its tenant's delay",
    "trash_due": "trash, due",
    "garbage_waiting": "garbage, waiting for the revive delay",
    "garbage_due": "garbage, due",
    "unlinking": "references on their way out",
    "doomed_waiting": "doomed, waiting for the recovery window",
    "doomed_unrecounted": "doomed, waiting for a recount",
    "doomed_due": "doomed, ready to delete",
    "doomed_claimed": "doomed, claimed",
    "doomed_refused": "doomed, refused by the store, tried again",
    "doomed_kept": "doomed, KEPT: a recount met references",
    "quarantine": "QUARANTINE: counts that did not fit",
    "damaged": "DAMAGED chunks",
}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def as_json(value: object) -> Any:
    """Dataclasses, times and ids as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: as_json(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return value


def plan_as_json(plan: Plan, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "nothing_to_do": plan.is_empty,
        "stages": {stage: as_json(plan.stages[stage]) for stage in STAGES},
        "to_delete_bytes": plan.to_delete_bytes,
        "allowed_bytes": plan.allowed_bytes,
        "all_bytes": plan.all_bytes,
    }


def plan_lines(plan: Plan) -> Iterator[str]:
    """What is due, and what it would give back."""
    if plan.is_empty:
        yield "Nothing is due."
    for stage in DUE_STAGES:
        if plan.stages[stage].count:
            yield _stage_line(stage, plan.stages[stage])
    if plan.to_delete_bytes:
        yield (
            f"Up to {human_bytes(plan.to_delete_bytes)} of {human_bytes(plan.all_bytes)} "
            f"would be on their way out; {human_bytes(plan.allowed_bytes)} are allowed."
        )


def counts_lines(counts: RunCounts) -> Iterator[str]:
    """What was done."""
    done = {name: count for name, count in dataclasses.asdict(counts).items() if count}
    if not done:
        yield "Nothing was due; nothing was changed."
        return
    for name, count in done.items():
        shown = human_bytes(count) if name.endswith("_bytes") else f"{count:,}"
        yield f"  {name.replace('_', ' '):<22} {shown:>12}"
    yield f"{human_bytes(counts.deleted_bytes)} given back."


def status_lines(status: Status) -> Iterator[str]:
    """Live chunks, then stage by stage, then the last recount and runs."""
    about = "" if status.live.exact else "about "
    yield f"live chunks: {about}{status.live.count:,}, {human_bytes(status.live.bytes)}"
    for stage in STAGES:
        if status.stages[stage].count:
            yield _stage_line(stage, status.stages[stage])
    if all(status.stages[stage].count == 0 for stage in STAGES):
        yield "Nothing waits to be collected."
    last = status.last_recount
    if last is None:
        yield "last recount: none yet"
    else:
        yield (
            f"last recount: {last.finished_at:%Y-%m-%d %H:%M:%S}, {last.references_read:,} "
            f"references, {last.manifests_read:,} manifests"
        )
    for run in status.last_runs:
        given = human_bytes(run.counts.get("deleted_bytes", 0))
        outcome = run.outcome or "under way"
        yield f"run {run.id}: {run.started_at:%Y-%m-%d %H:%M:%S}, {outcome}, {given} given back"
    yield f"given back in the last day: {human_bytes(status.deleted_last_day_bytes)}"
    if status.state.paused_at is not None:
        yield f"PAUSED: {status.state.paused_why}"


def human_bytes(count: int) -> str:
    """With a binary unit and one decimal."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise ValueError(f"not a number of bytes: {count}")


def _stage_line(stage: str, amount: StageAmount) -> str:
    oldest = "" if amount.oldest is None else f", oldest {amount.oldest:%Y-%m-%d %H:%M:%S}"
    size = "" if stage == "unlinking" else f", {human_bytes(amount.bytes)}"
    return f"  {_LABELS[stage]}: {amount.count:,}{size}{oldest}"
