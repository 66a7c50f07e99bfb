"""A result becomes a blob, by the steps of any upload: cut, intent, PUT, commit (INV-1, INV-11).

What is there already is linked, so that a picture that comes out twice is stored once.
"""

from collections.abc import Sequence

from uuid_utils.compat import uuid7

from mediastore.catalog.uploads import CommitChunk, IntentChunk, UploadDraft, intend, new_epoch
from mediastore.catalog.variants import (
    NOBODY,
    UPLOAD_SECONDS,
    Computation,
    Picture,
    begin_variant,
    finish_variant,
)
from mediastore.catalog.whole_body import begun_upload
from mediastore.content.hashing import BlobHasher
from mediastore.memory import Reservation
from mediastore.uploads.batch import Batch
from mediastore.uploads.cutting import Cutter
from mediastore.uploads.parts import UploadParts


async def store_variant(
    parts: UploadParts, taken: Computation, picture: Picture, data: bytes, content_type: str
) -> bytes:
    """The result's blob. Equal to `taken.blob`: nothing was stored, the source is the picture.

    Raises UploadTaken (another replica makes it), NotFound (the source is gone), Overloaded, and
    what batches raise.
    """
    memory = Reservation(parts.memory, parts.settings.memory.wait_max_seconds, body=True)
    try:
        await memory.grow(len(data))
        hasher = BlobHasher()
        cutter = Cutter(parts.settings.chunking, memory, hasher)
        cutter.feed(data)
        batch = Batch((*await cutter.take(), *await cutter.flush()))
        result = hasher.digest()
        if result != taken.blob:
            await parts.trust.look_at(result)
            await _store(parts, taken, picture, batch, result, content_type)
        return result
    finally:
        memory.close()


async def _store(
    parts: UploadParts,
    taken: Computation,
    picture: Picture,
    batch: Batch,
    result: bytes,
    content_type: str,
) -> None:
    draft = UploadDraft(
        id=uuid7(),
        tenant=NOBODY,
        owner=taken.blob.hex(),
        name=taken.transform,
        content_type=content_type,
        metadata={},
        protocol="raw",
        length=batch.size,
        expires_seconds=UPLOAD_SECONDS,
    )
    epoch = new_epoch()
    begun = await begin_variant(
        parts.catalog,
        taken,
        picture,
        draft,
        epoch=epoch,
        result=result,
        size=batch.size,
        chunks=batch.rows(),
    )
    if begun is None:
        parts.metrics.dedup_blob_hits.inc()
        parts.metrics.dedup_blob_bytes.inc(batch.size)
        return
    upload = begun_upload(draft, epoch=epoch, size=batch.size, now=parts.clock.now())

    async def intent() -> list[IntentChunk]:
        return await intend(parts.catalog, upload, batch.rows(), expires_seconds=UPLOAD_SECONDS)

    async def commit(chunks: Sequence[CommitChunk]) -> None:
        await finish_variant(
            parts.catalog,
            taken,
            picture,
            upload,
            result=result,
            size=batch.size,
            chunks=chunks,
            chunking=parts.settings.chunking,
        )

    try:
        await parts.batches.put_and_commit(batch, begun, intent, commit)
    except BaseException:
        await parts.drop_quietly(upload)
        raise
