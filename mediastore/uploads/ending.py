"""The end of an upload: its last batch, and the object (INV-8).

Three ways, cheapest first: the body was whole in memory (its blob may be there already, then one
transaction is all); this process has hashed all content before the last batch (commit and finish in
one transaction); or it has not, or there is more to do (fragments.py), and a job does it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import (
    CommitChunk,
    IntentChunk,
    Upload,
    UploadDraft,
    commit_and_finish,
    intend,
    new_epoch,
)
from mediastore.catalog.whole_body import begin_body, begun_upload
from mediastore.content.hashing import BlobHasher
from mediastore.errors import BadDigest
from mediastore.uploads.batch import Batch
from mediastore.uploads.fragments import needs_job
from mediastore.uploads.hashing import declared_digests
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.pipeline import Pipeline
from mediastore.uploads.staging import commit_batch


async def store_whole_body(
    parts: UploadParts, draft: UploadDraft, batch: Batch, hasher: BlobHasher
) -> Object:
    """A body that is whole in memory: one transaction if its blob is there, else two and its PUTs.
    `hasher` has gone over it.

    Raises BadDigest before anything is written, IdempotencyKeyInUse, and what batches raise.
    """
    blob = _checked_blob_hash(hasher, draft)
    epoch = new_epoch()
    await parts.trust.look_at(blob)
    begun = await begin_body(
        parts.catalog,
        draft,
        epoch=epoch,
        blob=blob,
        size=batch.size,
        chunks=batch.rows(),
        expires_seconds=draft.expires_seconds,
    )
    if isinstance(begun, Object):
        parts.metrics.dedup_blob_hits.inc()
        parts.metrics.dedup_blob_bytes.inc(batch.size)
        parts.metrics.acknowledged_bytes.inc(batch.size)
        return parts.finished(begun)
    parts.metrics.uploads_created[draft.protocol].inc()
    upload = begun_upload(draft, epoch=epoch, size=batch.size, now=parts.clock.now())

    async def intent() -> list[IntentChunk]:
        return await intend(
            parts.catalog, upload, batch.rows(), expires_seconds=upload.expires_seconds
        )

    async def commit_last(chunks: Sequence[CommitChunk]) -> Object:
        return await _commit_and_finish(parts, upload, batch, chunks, blob, draft.declared_digests)

    try:
        return await parts.batches.put_and_commit(batch, begun, intent, commit_last)
    except BaseException:
        await parts.drop_quietly(upload)
        raise


async def store_last_batch(
    parts: UploadParts,
    pipeline: Pipeline,
    batch: Batch,
    hasher: BlobHasher,
) -> Object | None:
    """The last batch of an open upload, maybe empty; those before it may be under way. None: a job
    is at it, the object comes later.

    Raises BadDigest before the batch is stored, if it is a declared digest that is wrong.
    """
    if hasher.offset != pipeline.end + batch.size:
        return await _finish_later(parts, pipeline, batch, hasher)
    blob, digests = hasher.digest(), declared_digests(hasher, pipeline.upload.declared_digests)
    if needs_job(parts.settings, pipeline.upload, batch):
        return await _finish_later(parts, pipeline, batch, hasher)

    async def commit_last(chunks: Sequence[CommitChunk]) -> Object:
        return await _commit_and_finish(parts, pipeline.upload, batch, chunks, blob, digests)

    return await pipeline.store(batch, commit_last)


async def _commit_and_finish(
    parts: UploadParts,
    upload: Upload,
    batch: Batch,
    chunks: Sequence[CommitChunk],
    blob: bytes,
    digests: Mapping[str, bytes],
) -> Object:
    await parts.trust.look_at(blob)
    made = await commit_and_finish(
        parts.catalog,
        upload,
        batch.acknowledged_bytes,
        chunks,
        blob=blob,
        chunking=parts.settings.chunking,
        idempotency_key=upload.idempotency_key,
        digests=digests,
    )
    parts.metrics.acknowledged_bytes.inc(batch.acknowledged_bytes)
    return parts.finished(made)


async def _finish_later(
    parts: UploadParts,
    pipeline: Pipeline,
    batch: Batch,
    hasher: BlobHasher,
) -> Object | None:
    """Commit the last batch as finishing; a job does the rest."""

    async def commit_last(chunks: Sequence[CommitChunk]) -> int:
        return await commit_batch(parts, pipeline.upload, batch, chunks, finishing=True)

    offset = await pipeline.store(batch, commit_last)
    whole = replace(
        pipeline.upload,
        offset=offset,
        length=offset,
        state="finishing",
        fragments=pipeline.upload.fragments + len(batch.chunks),
    )
    made = await parts.finisher.finish(whole, hasher)
    return None if made is None else parts.finished(made)


def _checked_blob_hash(hasher: BlobHasher, draft: UploadDraft) -> bytes:
    """The blob's id. Raises BadDigest if the content is not what the draft declares."""
    blob = hasher.digest()
    declared_digests(hasher, draft.declared_digests)
    if draft.declared_hash not in (None, blob):
        raise BadDigest
    return blob
