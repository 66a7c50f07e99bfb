"""Staged batches, in the catalog: a body that must be verified whole is stored batch by batch while
the offset stays, and one commit acknowledges all of it (INV-1, INV-2, INV-8).

`staged_bytes` are those of the same body that were staged before: a batch begins at the upload's
offset plus them. The rules are in migrations/0006_pre_staged_batches_and_digests.sql.
"""

from collections.abc import Sequence

from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import (
    BatchChunk,
    CommitChunk,
    IntentChunk,
    Upload,
    commit_columns,
)


async def intend_staged(
    catalog: Catalog,
    upload: Upload,
    chunks: Sequence[BatchChunk],
    *,
    staged_bytes: int,
    expires_seconds: int,
) -> list[IntentChunk]:
    """As `uploads.intend`, for a batch behind what is staged."""
    rows = await catalog.fetch(
        "staged_intent",
        upload.id,
        upload.epoch,
        upload.offset,
        upload.offset + staged_bytes,
        [chunk.hash for chunk in chunks],
        [chunk.size for chunk in chunks],
        [chunk.generation for chunk in chunks],
        expires_seconds,
    )
    return [IntentChunk(*row) for row in rows]


async def stage(
    catalog: Catalog,
    upload: Upload,
    size: int,
    chunks: Sequence[CommitChunk],
    *,
    staged_bytes: int,
    expires_seconds: int,
) -> None:
    """Note that a batch is stored; nothing is acknowledged. Raises what `uploads.commit` raises."""
    await catalog.fetch_value(
        "staged_stored",
        upload.id,
        upload.epoch,
        upload.offset,
        upload.offset + staged_bytes,
        size,
        *commit_columns(chunks),
        expires_seconds,
    )


async def commit_staged(
    catalog: Catalog,
    upload: Upload,
    size: int,
    chunks: Sequence[CommitChunk],
    *,
    finishing: bool,
    expires_seconds: int,
) -> int:
    """Acknowledge all that is staged and the last batch, `size` bytes in all; the new offset.

    Raises what `uploads.commit` raises.
    """
    offset: int = await catalog.fetch_value(
        "staged_commit",
        upload.id,
        upload.epoch,
        upload.offset,
        size,
        *commit_columns(chunks),
        finishing,
        expires_seconds,
    )
    return offset


async def release_staged(catalog: Catalog, upload: Upload) -> None:
    """Give up what is staged; the offset stays. Raises NotFound, UploadTaken, OffsetMismatch."""
    await catalog.fetch_value("staged_release", upload.id, upload.epoch, upload.offset)
