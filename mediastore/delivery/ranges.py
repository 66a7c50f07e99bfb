"""The Range header (RFC 9110, section 14): one range of bytes is served, everything else is
ignored.

A server may ignore Range (14.2), and does here for other units, several ranges, ranges that are not
valid, and on empty content, which has no byte to name in Content-Range. A valid range that lies
past the end is refused.
"""

import re
from dataclasses import dataclass

from mediastore.errors import RangeNotSatisfiable

_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_DIGITS_MAX = 18  # a longer number is past the end of anything
_PAST_EVERYTHING = 10**_DIGITS_MAX


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `end`, `end` not included."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        """The value of Content-Range (section 14.4)."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def parse_range(header: str, size: int) -> ByteRange | None:
    """The one range of content of `size` bytes, or None when the header is to be ignored.

    Raises RangeNotSatisfiable.
    """
    unit, equals, ranges = header.partition("=")
    if not equals or unit.strip().lower() != "bytes" or size == 0:
        return None
    specs = [spec for part in ranges.split(",") if (spec := part.strip(" \t"))]
    match = _SPEC.fullmatch(specs[0]) if len(specs) == 1 else None
    if match is None or match.group() == "-":
        return None
    first, last = _number(match[1]), _number(match[2])
    if first is None:
        return _suffix(last or 0, size)
    if last is not None and last < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable(size=size)
    return ByteRange(first, size if last is None else min(last + 1, size))


def _suffix(length: int, size: int) -> ByteRange:
    if length == 0:
        raise RangeNotSatisfiable(size=size)
    return ByteRange(max(size - length, 0), size)


def _number(digits: str) -> int | None:
    if not digits:
        return None
    return int(digits) if len(digits) <= _DIGITS_MAX else _PAST_EVERYTHING
