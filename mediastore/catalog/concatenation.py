"""Final uploads and the parts that they are made of, in the catalog (INV-4, INV-7, INV-8).

Parts give their references to the final in order, each once it is whole. The rules are in
migrations/0007_pre_joining.sql.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from mediastore.catalog.digests import pack_digests
from mediastore.catalog.dropping import RELEASED_ROWS_MAX
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import (
    UploadDraft,
)
from mediastore.errors import InvariantBroken


class Joined(Enum):
    """What a step of joining has come to."""

    WHOLE = "whole"
    """That was the last part: the final is finishing, and its epoch is this caller's."""
    MORE = "more"
    """There is more to do now."""
    WAITING = "waiting"
    """The next part is not whole yet."""


@dataclass(frozen=True, slots=True)
class Concatenation:
    """What is known of a final upload. `header` is its Upload-Concat as received; `length` is None
    while a part has not said its own.
    """

    header: str
    first_part: UUID
    length: int | None


async def create_final(
    catalog: Catalog,
    draft: UploadDraft,
    parts: Sequence[UUID],
    *,
    header: str,
    epoch: int,
    size_max_bytes: int,
) -> tuple[UUID, Joined | None]:
    """A final upload of these parts, in order, and how far joining them has come. For a list that
    was given before it is the final that this made, and None.

    Raises BadConcatenation, PartTaken, TooLarge.
    """
    row = await catalog.fetch_row(
        "concatenation_create",
        draft.id,
        draft.tenant,
        draft.owner,
        draft.name,
        draft.content_type,
        json.dumps(draft.metadata),
        draft.protocol,
        draft.declared_hash,
        pack_digests(draft.declared_digests),
        draft.tus_metadata,
        epoch,
        parts,
        header,
        size_max_bytes,
        RELEASED_ROWS_MAX,
        draft.expires_seconds,
        draft.expiry_fixed,
    )
    if row is None:
        raise InvariantBroken("a final upload that was made has no id")
    return row["final"], None if row["outcome"] is None else Joined(row["outcome"])


async def join_parts(
    catalog: Catalog, final: UUID, *, epoch: int, size_max_bytes: int, expires_seconds: int
) -> Joined | None:
    """One step, bounded in rows. None: there is no such final that waits. Raises TooLarge."""
    outcome = await catalog.fetch_value(
        "concatenation_join", final, epoch, size_max_bytes, RELEASED_ROWS_MAX, expires_seconds
    )
    return None if outcome is None else Joined(outcome)


async def get_concatenation(catalog: Catalog, tenant: str, final: UUID) -> Concatenation | None:
    """Also of a final that has become an object, for a while."""
    row = await catalog.fetch_row("concatenation_get", tenant, final)
    return None if row is None else Concatenation(**dict(row))


async def final_of_list(catalog: Catalog, tenant: str, parts: Sequence[UUID]) -> UUID | None:
    """The final that this list of parts has made, if it was given before."""
    final: UUID | None = await catalog.fetch_value("concatenation_of_list", tenant, parts)
    return final


async def final_of_part(catalog: Catalog, part: UUID) -> UUID | None:
    """The final that waits for a part, if there is one."""
    final: UUID | None = await catalog.fetch_value("concatenation_of_part", part)
    return final


async def ready_finals(
    catalog: Catalog, *, stale_seconds: int, limit: int
) -> list[tuple[str, UUID]]:
    """Finals whose next part is whole, while nobody has joined it for a while; with tenants."""
    rows = await catalog.fetch("concatenations_ready", stale_seconds, limit)
    return [(row["tenant"], row["id"]) for row in rows]
