"""Several ranges in one answer: multipart/byteranges (RFC 9110, sections 14.6 and 15.3.7).

All that goes between the bytes is rendered before the first of them is sent, so the length of the
whole is known. The boundary is random for each answer: whoever makes content cannot put it there.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from mediastore.delivery.ranges import ByteRange


@dataclass(frozen=True, slots=True)
class Multipart:
    """Each range with what goes before its bytes, and what ends the body."""

    content_type: bytes
    """The header line of the whole."""
    parts: tuple[tuple[bytes, ByteRange], ...]
    tail: bytes

    @property
    def length(self) -> int:
        bodies = sum(part.end - part.start for _, part in self.parts)
        return bodies + sum(len(head) for head, _ in self.parts) + len(self.tail)


def multipart(ranges: Sequence[ByteRange], content_type: bytes, size: int) -> Multipart:
    """The body for `ranges` of content of `size` bytes, whose Content-Type is this header line."""
    boundary = secrets.token_hex(16).encode()
    parts = tuple(
        (
            b"\r\n--%b\r\n%bContent-Range: %b\r\n\r\n"
            % (boundary, content_type, part.content_range(size).encode()),
            part,
        )
        for part in ranges
    )
    return Multipart(
        b"Content-Type: multipart/byteranges; boundary=%b\r\n" % boundary,
        parts,
        b"\r\n--%b--\r\n" % boundary,
    )
