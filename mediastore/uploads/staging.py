"""How a stored batch counts: acknowledged, staged (stored, and acknowledged by a later batch of the
same body), or given up (INV-1, INV-8).
"""

from collections.abc import Sequence

import structlog

from mediastore.catalog import staging
from mediastore.catalog.uploads import CommitChunk, Upload, commit
from mediastore.errors import MediastoreError
from mediastore.uploads.batch import Batch
from mediastore.uploads.parts import UploadParts

log = structlog.get_logger(__name__)


async def commit_batch(
    parts: UploadParts,
    upload: Upload,
    batch: Batch,
    chunks: Sequence[CommitChunk],
    *,
    finishing: bool = False,
) -> int:
    """Acknowledge a batch, and what is staged before it; the new offset."""
    size = batch.acknowledged_bytes
    if batch.staged_bytes:  # acknowledged once, when the whole body is there
        offset = await staging.commit_staged(
            parts.catalog,
            upload,
            size,
            chunks,
            finishing=finishing,
            expires_seconds=upload.expires_seconds,
        )
    else:
        offset = await commit(
            parts.catalog,
            upload,
            size,
            chunks,
            finishing=finishing,
            expires_seconds=upload.expires_seconds,
            last=batch.last or finishing,
        )
    parts.metrics.acknowledged_bytes.inc(size)
    return offset


async def stage_batch(
    parts: UploadParts, upload: Upload, batch: Batch, chunks: Sequence[CommitChunk]
) -> int:
    """Note that a batch is stored; the offset, which has not moved."""
    await staging.stage(
        parts.catalog,
        upload,
        batch.size,
        chunks,
        staged_bytes=batch.staged_bytes,
        expires_seconds=upload.expires_seconds,
    )
    return upload.offset


async def unstage_quietly(parts: UploadParts, upload: Upload) -> None:
    """Release what is staged. If that fails, the next writer releases it, or the expiry does."""
    try:
        await staging.release_staged(parts.catalog, upload)
    except MediastoreError as error:
        log.info("staged_not_released", upload=str(upload.id), detail=error.detail)
