"""What a content's first bytes mean for its declared type, by the tenant's policy."""

from dataclasses import replace
from uuid import UUID

import structlog

from mediastore.catalog.finishing import stored_chunks
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload, UploadDraft, correct_content_type
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.content.sniffing import SNIFFED_BYTES, UNKNOWN, contradicts, sniffed_type
from mediastore.errors import ContentMissing
from mediastore.policy_errors import TypeMismatch
from mediastore.uploads.policy import UploadPolicy, bare_type
from mediastore.uploads.running_hash import read_back

log = structlog.get_logger(__name__)


def decided_type(policy: UploadPolicy, subject: UploadDraft | Upload, sniffed: str | None) -> str:
    """The type that the subject is to have. Raises TypeMismatch, TypeNotAllowed."""
    declared = bare_type(subject.content_type)
    if not contradicts(declared, sniffed):
        fills = policy.type_mismatch == "correct" and declared == UNKNOWN and sniffed is not None
        wanted = sniffed if fills and sniffed is not None else subject.content_type
    elif policy.type_mismatch == "refuse":
        raise TypeMismatch(f"declared as {declared}, the content is {sniffed or 'something else'}")
    else:
        wanted = sniffed or UNKNOWN
    if wanted != subject.content_type:
        log.info("type_corrected", upload=str(subject.id), declared=declared, sniffed=sniffed)
        policy.check_type(wanted)
    return wanted


async def check_stored_type(
    catalog: Catalog, store: ChunkStore, policy: UploadPolicy, upload: Upload
) -> Upload:
    """For an upload that is whole and that no body was looked at for: one made of parts. As it is
    to be. Raises TypeMismatch, TypeNotAllowed, and what reading back raises.
    """
    if not policy.looks_at_content or upload.offset == 0:
        return upload
    head = await stored_head(catalog, store, upload.id, min(upload.offset, SNIFFED_BYTES))
    wanted = decided_type(policy, upload, sniffed_type(head))
    if wanted == upload.content_type:
        return upload
    await correct_content_type(catalog, upload, wanted)
    return replace(upload, content_type=wanted)


async def stored_head(catalog: Catalog, store: ChunkStore, upload: UUID, size: int) -> bytes:
    """The first `size` bytes of an upload, which are stored."""
    if size == 0:
        return b""
    chunks = await stored_chunks(catalog, upload, start=0, end=size, limit=size)
    head = b"".join([await read_back(catalog, store, chunk) for chunk in chunks])
    if len(head) < size:
        raise ContentMissing(f"upload {upload} has {len(head)} of its first {size} bytes")
    return head[:size]
