"""What `erase` says to people."""

from collections.abc import Iterator

from mediastore.catalog.erasing import Erasure, Scope, ScopeContents
from mediastore_gc.rendering import human_bytes, moment_text


def scope_text(scope: Scope) -> str:
    if scope.object is not None:
        return f"object {scope.object} of tenant {scope.tenant}"
    if scope.owner is not None:
        return f"everything of owner {scope.owner!r} of tenant {scope.tenant}"
    return f"everything of tenant {scope.tenant}"


def contents_lines(scope: Scope, contents: ScopeContents) -> Iterator[str]:
    """What would be erased, and what that means."""
    yield (
        f"{scope_text(scope)}: {contents.live:,} objects, {contents.trash:,} in the trash, "
        f"{contents.purged:,} purged ones, {contents.uploads:,} unfinished uploads; "
        f"{human_bytes(contents.bytes)}."
    )
    yield (
        "This passes over trash, revive delay and recovery window: nothing brings it back, neither "
        "'undelete' nor a restore of the database."
    )


def erasure_lines(erasure: Erasure) -> Iterator[str]:
    """One erasure, and how far it is."""
    yield (
        f"erasure {erasure.id}: {scope_text(erasure.scope)}, asked for "
        f"{moment_text(erasure.asked_at)}: {erasure.why}"
    )
    yield f"  {stage_text(erasure)}"


def stage_text(erasure: Erasure) -> str:
    if erasure.finished_at is not None:
        return f"complete since {moment_text(erasure.finished_at)}"
    if erasure.marked_at is not None:
        size = human_bytes(erasure.key_bytes)
        return f"{erasure.keys:,} keys ({size}) go after the next recount"
    if erasure.removed_at is not None:
        return "nobody can read it any more; its references are being released by 'run'"
    if erasure.recorded_at is not None:
        return (
            "rows are being removed; goes on with the next run when transactions of before have "
            "ended, unless a hold keeps some of it"
        )
    return "asked for; begins with the next run"
