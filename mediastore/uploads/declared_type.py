"""Declared type against content, for tenants whose policy asks for it.

What decides are the first SNIFFED_BYTES of an upload, or all of it where it is shorter: the body
that takes it past them looks, and reads back what earlier requests have stored before. So an upload
that has more was looked at when it got there, whatever sizes its requests had.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from mediastore.catalog.uploads import Upload, UploadDraft, correct_content_type
from mediastore.content.sniffing import SNIFFED_BYTES, sniffed_type
from mediastore.uploads.cutting import NamedChunk
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.policy import UploadPolicy
from mediastore.uploads.type_decision import decided_type, stored_head

Subject = TypeVar("Subject", bound=Upload | UploadDraft)


class ContentCheck:
    """Holds the content of one upload against its declared type, once for each body."""

    def __init__(self, parts: UploadParts, policy: UploadPolicy) -> None:
        self._parts = parts
        self._policy = policy
        self._pending = policy.looks_at_content

    async def look(self, subject: Subject, chunks: Sequence[NamedChunk], *, ends: bool) -> Subject:
        """The upload or draft with the type that it is to have, before the body's first `chunks`
        are stored. `ends`: the upload has no more.

        Raises TypeMismatch, and TypeNotAllowed for a corrected type that the tenant does not take;
        ContentMissing, ContentDamaged, unavailable parts.
        """
        if not self._pending or subject.concat == "partial":  # its final is looked at
            return subject
        self._pending = False
        offset = subject.offset if isinstance(subject, Upload) else 0
        if offset >= SNIFFED_BYTES:
            return subject
        stored = await stored_head(self._parts.catalog, self._parts.store, subject.id, offset)
        head = stored + _head(chunks, SNIFFED_BYTES - offset)
        if not head or (len(head) < SNIFFED_BYTES and not ends):
            return subject
        wanted = decided_type(self._policy, subject, sniffed_type(head))
        if wanted == subject.content_type:
            return subject
        if isinstance(subject, Upload):
            await correct_content_type(self._parts.catalog, subject, wanted)
        return replace(subject, content_type=wanted)


def _head(chunks: Sequence[NamedChunk], size: int) -> bytes:
    head = bytearray()
    for chunk in chunks:
        if len(head) >= size:
            break
        head += chunk.data[: size - len(head)]
    return bytes(head)
