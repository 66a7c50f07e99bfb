"""What a worker process and its service say to each other: a header as JSON with its length before
it, then as many bytes as the header says.
"""

import json
import struct
from typing import Any, Final

LENGTH: Final = struct.Struct(">I")
HEADER_MAX_BYTES: Final = 64 * 1024


def packed(header: dict[str, Any]) -> bytes:
    """A header with its length."""
    text = json.dumps(header).encode()
    return LENGTH.pack(len(text)) + text


def length_of(prefix: bytes) -> int:
    """How long the header is. Raises ValueError for one that nobody here writes."""
    (length,) = LENGTH.unpack(prefix)
    if length > HEADER_MAX_BYTES:
        raise ValueError("a header is too long")
    return int(length)
