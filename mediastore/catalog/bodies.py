"""Small bodies of one request, stored together, in the catalog (INV-1, INV-4, INV-8, INV-11).

Each function is one transaction and one round trip, for any number of bodies; the rules are in
migrations/0011_pre_grouped_bodies.sql.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import CommitChunk, IntentChunk, Upload, UploadDraft
from mediastore.catalog.whole_body import linked_object
from mediastore.settings import ChunkingSettings


@dataclass(frozen=True, slots=True)
class Body:
    """A body that is whole in memory and has one chunk at most: `blob` is the chunk's hash too."""

    draft: UploadDraft
    blob: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Begun:
    """What became of a group: the objects of known blobs by id, and the others' distinct chunks."""

    linked: dict[UUID, Object]
    chunks: list[IntentChunk]


async def begin_bodies(
    catalog: Catalog,
    upload: Upload,
    bodies: Sequence[Body],
    generations: Sequence[int],
    *,
    expires_seconds: int,
) -> Begun:
    """Link the bodies whose blobs are known; `upload` holds the others' references until they are
    finished.

    Raises IdempotencyKeyInUse, after which nothing of the group is there.
    """
    rows = await catalog.fetch(
        "bodies_begin",
        upload.id,
        upload.tenant,
        upload.protocol,
        upload.epoch,
        expires_seconds,
        *_described(bodies),
        [body.blob for body in bodies],
        [body.size for body in bodies],
        generations,
        [body.draft.idempotency_key for body in bodies],
    )
    born = {row["linked"]: row["linked_at"] for row in rows if row["linked"] is not None}
    return Begun(
        _objects(bodies, born),
        [IntentChunk(*list(row)[2:]) for row in rows if row["linked"] is None],
    )


async def finish_bodies(
    catalog: Catalog,
    upload: Upload,
    bodies: Sequence[Body],
    chunks: Sequence[CommitChunk],
    chunking: ChunkingSettings,
) -> dict[UUID, Object]:
    """Acknowledge the bodies that were not linked, whose chunks are stored; their objects by id.

    Raises NotFound, UploadTaken, ChunkChanged: intend the batch again; IdempotencyKeyInUse,
    InvariantBroken. Whatever it raises, none of them is finished.
    """
    rows = await catalog.fetch(
        "bodies_finish",
        upload.id,
        upload.tenant,
        upload.epoch,
        *_described(bodies),
        [body.blob for body in bodies],
        [body.size for body in bodies],
        [body.draft.idempotency_key for body in bodies],
        [chunk.hash for chunk in chunks],
        [chunk.generation for chunk in chunks],
        [chunk.put for chunk in chunks],
        chunking.size_min_bytes,
        chunking.size_average_bytes,
        chunking.size_max_bytes,
    )
    return _objects(bodies, {row["id"]: row["created_at"] for row in rows})


def _described(bodies: Sequence[Body]) -> tuple[list[Any], ...]:
    """What their objects say, as the columns that a statement takes."""
    drafts = [body.draft for body in bodies]
    return (
        [draft.id for draft in drafts],
        [draft.owner for draft in drafts],
        [draft.name for draft in drafts],
        [draft.content_type for draft in drafts],
        [json.dumps(draft.metadata) for draft in drafts],
    )


def _objects(bodies: Sequence[Body], born: dict[UUID, datetime]) -> dict[UUID, Object]:
    return {
        body.draft.id: linked_object(body.draft, body.blob, body.size, born[body.draft.id])
        for body in bodies
        if body.draft.id in born
    }
