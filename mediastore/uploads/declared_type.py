"""Declared type against content, for tenants whose policy asks for it.

What decides are the first SNIFFED_BYTES of an upload, or all of it where it is shorter: the body
that takes it past them looks, and reads back what earlier requests have stored before. So an upload
that has more was looked at when it got there, whatever sizes its requests had.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog

from mediastore.catalog.finishing import stored_chunks
from mediastore.catalog.uploads import Upload, UploadDraft, correct_content_type
from mediastore.content.sniffing import SNIFFED_BYTES, UNKNOWN, contradicts, sniffed_type
from mediastore.errors import ContentMissing, TypeMismatch
from mediastore.uploads.cutting import NamedChunk
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.policy import UploadPolicy, bare_type
from mediastore.uploads.running_hash import read_back

log = structlog.get_logger(__name__)


async def type_to_store(
    parts: UploadParts,
    policy: UploadPolicy,
    subject: UploadDraft | Upload,
    chunks: Sequence[NamedChunk],
    *,
    ends: bool,
) -> str:
    """The type that an upload is to have, before `chunks` are stored at its offset. `ends`: they
    are its last ones.

    Raises TypeMismatch, and TypeNotAllowed for a corrected type that the tenant does not take;
    ContentMissing, ContentDamaged, unavailable parts.
    """
    declared = subject.content_type
    offset = subject.offset if isinstance(subject, Upload) else 0
    if not policy.looks_at_content or offset >= SNIFFED_BYTES:
        return declared
    head = await _stored_head(parts, subject.id, offset) + _head(chunks, SNIFFED_BYTES - offset)
    if not head or (len(head) < SNIFFED_BYTES and not ends):
        return declared
    return _decided(policy, subject, sniffed_type(head))


async def correct_whole_upload(parts: UploadParts, policy: UploadPolicy, upload: Upload) -> None:
    """For an upload that is whole without another body. Raises what `type_to_store` raises."""
    wanted = await type_to_store(parts, policy, upload, (), ends=True)
    if wanted != upload.content_type:
        await correct_content_type(parts.catalog, upload, wanted)


def _decided(policy: UploadPolicy, subject: UploadDraft | Upload, sniffed: str | None) -> str:
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


def _head(chunks: Sequence[NamedChunk], size: int) -> bytes:
    head = bytearray()
    for chunk in chunks:
        if len(head) >= size:
            break
        head += chunk.data[: size - len(head)]
    return bytes(head)


async def _stored_head(parts: UploadParts, upload: UUID, offset: int) -> bytes:
    """What is stored of an upload that has only `offset` bytes so far."""
    if offset == 0:
        return b""
    chunks = await stored_chunks(parts.catalog, upload, start=0, end=offset, limit=offset)
    head = b"".join([await read_back(parts.catalog, parts.store, chunk) for chunk in chunks])
    if len(head) != offset:
        raise ContentMissing(f"upload {upload} has {len(head)} of its {offset} bytes")
    return head
