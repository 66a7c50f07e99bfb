"""What the command line says: the same values as JSON for programs and as lines for people."""

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from mediastore.catalog.collection import StageAmount
from mediastore.catalog.holds import Hold
from mediastore.settings import DAY_SECONDS
from mediastore_gc.explaining import Explanation
from mediastore_gc.plan import DUE_STAGES, STAGES, Plan
from mediastore_gc.plan_details import PlanDetails
from mediastore_gc.run_counts import RunCounts
from mediastore_gc.status import Status
from mediastore_gc.undeleting import Recoverable

_LABELS = {
    "erasures": "erasures under way",
    "uploads_expired": "uploads, expired",
    "trash_waiting": "trash, waiting for its tenant's delay",
    "trash_due": "trash, due",
    "trash_held": "trash, HELD",
    "garbage_waiting": "garbage, waiting for the revive delay",
    "garbage_due": "garbage, due",
    "garbage_held": "garbage, HELD",
    "unlinking": "references on their way out",
    "doomed_waiting": "doomed, waiting for the recovery window",
    "doomed_erased": "doomed, erased: waiting for the next recount",
    "doomed_held": "doomed, HELD",
    "doomed_unrecounted": "doomed, waiting for a recount",
    "doomed_due": "doomed, ready to delete",
    "doomed_claimed": "doomed, claimed",
    "doomed_refused": "doomed, refused by the store, tried again",
    "doomed_kept": "doomed, KEPT: a recount met references",
    "quarantine": "QUARANTINE: counts that did not fit",
    "blob_quarantine": "PUT ASIDE: blobs counted too low; 'verify --repair'",
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


def details_lines(details: PlanDetails) -> Iterator[str]:
    """By tenant, by age, and the requests."""
    for age in details.ages:
        when = "longer ago" if age.days_under is None else f"under {age.days_under} days ago"
        size = human_bytes(age.bytes)
        yield f"  {age.stage}, became due {when}: {age.count:,}, {size}"
    for share in details.tenants:
        yield (
            f"  tenant {share.tenant}: {share.trash_objects:,} objects in the trash, "
            f"{human_bytes(share.trash_bytes)}; {share.garbage_blobs:,} garbage blobs, "
            f"{human_bytes(share.garbage_bytes)}"
        )
    asked = details.requests
    if asked.delete_many:
        yield (
            f"  requests: {asked.delete_many:,} deletes of many keys, {asked.marker_reads:,} reads "
            f"and {asked.marker_writes:,} writes of the marker"
        )
    if asked.recount_chunks:
        yield f"  recount: references to about {asked.recount_chunks:,} chunks, in the database"


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
    """Brakes, live chunks, stage by stage, what is overdue, when space comes back, runs."""
    for brake in status.brakes:
        since = "" if brake.since is None else f" (since {moment_text(brake.since)})"
        yield f"{brake.code.upper()}: {brake.why}{since}"
    about = "" if status.live.exact else "about "
    yield f"live chunks: {about}{status.live.count:,}, {human_bytes(status.live.bytes)}"
    for stage in STAGES:
        if status.stages[stage].count:
            more = " and more" if stage in status.at_least else ""
            yield _stage_line(stage, status.stages[stage]) + more
    if all(status.stages[stage].count == 0 for stage in STAGES):
        yield "Nothing waits to be collected."
    for stage, amount in status.overdue.items():
        yield f"OVERDUE by a day or more: {_stage_line(stage, amount).strip()}"
    retries = status.retries
    if retries.keys:
        yield f"refused by the store: {retries.keys:,} keys, up to {retries.attempts_max} times"
    yield from _coming_back_lines(status)
    yield from _history_lines(status)


def _coming_back_lines(status: Status) -> Iterator[str]:
    for back in status.coming_back:
        if not back.bytes:
            continue
        size = f"at most {human_bytes(back.bytes)}"
        if back.within_seconds is None:
            yield f"comes back later: {size}"
        elif back.within_seconds == 0:
            yield f"comes back in the next runs: {size}"
        else:
            yield f"comes back within {back.within_seconds // DAY_SECONDS} days: {size}"


def _history_lines(status: Status) -> Iterator[str]:
    last = status.last_recount
    if last is None:
        yield "last recount: none yet"
    else:
        yield (
            f"last recount: {moment_text(last.finished_at)}, {last.references_read:,} "
            f"references, {last.manifests_read:,} manifests"
        )
    for audit in status.last_audits:
        end = "" if audit.complete else ", stopped before its end"
        yield (
            f"last {audit.audit}: {moment_text(audit.ended_at)}, {audit.dangers:,} dangers, "
            f"{audit.leaks:,} leaks{end}"
        )
    for run in status.last_runs:
        given = human_bytes(run.counts.get("deleted_bytes", 0))
        outcome = run.outcome or "under way"
        yield f"run {run.id}: {moment_text(run.started_at)}, {outcome}, {given} given back"
    yield f"given back in the last day: {human_bytes(status.deleted_last_day_bytes)}"


def explanation_lines(one: Explanation) -> Iterator[str]:
    """Why, what is known, every reference, the timeline."""
    yield f"{one.kind} {one.id}: {one.why}"
    for name, value in one.facts.items():
        yield f"  {name.replace('_', ' ')}: {value}"
    for reference in one.references:
        times = "" if reference.times == 1 else f", {reference.times} times"
        about = f" ({reference.about})" if reference.about else ""
        yield f"  <- {reference.kind} {reference.id}{times}{about}"
    for moment in one.timeline:
        sign = "expected, not before this:" if moment.expected else ""
        yield "  " + " ".join(part for part in (moment_text(moment.at), sign, moment.what) if part)


def hold_line(hold: Hold) -> str:
    if hold.object is not None:
        what = f"object {hold.object} of tenant {hold.tenant}"
    else:
        what = f"tenant {hold.tenant}" if hold.owner is None else f"{hold.tenant}, {hold.owner}"
    since = moment_text(hold.created_at)
    return f"hold {hold.id}: {what}, since {since}, {hold.keys:,} keys: {hold.why}"


def recoverable_line(found: Recoverable) -> str:
    state = {
        "trash": "in the trash",
        "garbage": "purged, its blob is still there",
        "doomed": f"removed, {found.to_copy:,} chunks to copy",
    }[found.stage]
    gone = f", {found.gone:,} chunks GONE" if found.gone else ""
    whose = f"{found.tenant}, {found.owner}, {found.name!r}"
    return f"object {found.id} ({whose}, {human_bytes(found.size)}): {state}{gone}"


def human_bytes(count: int) -> str:
    """With a binary unit and one decimal."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise ValueError(f"not a number of bytes: {count}")


def moment_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _stage_line(stage: str, amount: StageAmount) -> str:
    oldest = "" if amount.oldest is None else f", oldest {moment_text(amount.oldest)}"
    size = "" if stage == "unlinking" else f", {human_bytes(amount.bytes)}"
    return f"  {_LABELS[stage]}: {amount.count:,}{size}{oldest}"
