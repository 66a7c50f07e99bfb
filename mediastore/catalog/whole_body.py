"""A body that is whole in memory, in the catalog: its blob is linked, or its upload begun, in one
transaction (INV-1, INV-4, INV-11).
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from mediastore.catalog.digests import digest_columns
from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import BatchChunk, IntentChunk, Upload, UploadDraft


async def begin_body(
    catalog: Catalog,
    draft: UploadDraft,
    *,
    epoch: int,
    blob: bytes,
    size: int,
    chunks: Sequence[BatchChunk],
    expires_seconds: int,
) -> list[IntentChunk] | Object:
    """A body that is whole in memory: its object when the blob was there and whole, else the
    intent.

    The draft's declared digests must be known to be right. Raises IdempotencyKeyInUse.
    """
    rows = await catalog.fetch(
        "verified_body_begin" if draft.declared_digests else "body_begin",
        draft.id,
        draft.tenant,
        draft.owner,
        draft.name,
        draft.content_type,
        json.dumps(draft.metadata),
        draft.protocol,
        blob,
        size,
        epoch,
        [chunk.hash for chunk in chunks],
        [chunk.size for chunk in chunks],
        [chunk.generation for chunk in chunks],
        expires_seconds,
        draft.idempotency_key,
        *digest_columns(draft.declared_digests),
    )
    if rows and rows[0]["linked_at"] is not None:
        return linked_object(draft, blob, size, rows[0]["linked_at"])
    return [IntentChunk(*row[1:]) for row in rows]


def begun_upload(draft: UploadDraft, *, epoch: int, size: int, now: datetime) -> Upload:
    """The row that was begun for a body that is whole in memory, without reading it back."""
    return Upload(
        draft.id,
        draft.tenant,
        draft.owner,
        draft.name,
        draft.content_type,
        draft.metadata,
        draft.protocol,
        "open",
        0,
        size,
        draft.declared_hash,
        epoch,
        now + timedelta(seconds=draft.expires_seconds),
        draft.declared_digests,
        expires_seconds=draft.expires_seconds,
        idempotency_key=draft.idempotency_key,
    )


def linked_object(draft: UploadDraft, blob: bytes, size: int, created_at: datetime) -> Object:
    """The object that was made of a body, without reading it back."""
    return Object(
        draft.id,
        draft.tenant,
        draft.owner,
        draft.name,
        blob,
        draft.content_type,
        size,
        draft.metadata,
        created_at,
        None,
        None,
    )
