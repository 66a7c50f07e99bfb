"""The Range header (RFC 9110, section 14): which bytes an answer is to have.

A server may ignore Range (14.2), and does here for other units, for what is not valid, for more
ranges than are served, and on empty content, which has no byte to name in Content-Range. What lies
past the end is left out; if nothing else was asked for, it is refused.
"""

import re
from dataclasses import dataclass

from mediastore.errors import RangeNotSatisfiable

_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_DIGITS_MAX = 18  # a longer number is past the end of anything
_PAST_EVERYTHING = 10**_DIGITS_MAX
GAP_MAX_BYTES = 128
"""Ranges that are no further apart are sent as one: a part's headers cost as much (15.3.7.2)."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `end`, `end` not included."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        """The value of Content-Range (section 14.4)."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def parse_ranges(header: str, size: int, *, ranges_max: int) -> list[ByteRange] | None:
    """What is wanted of content of `size` bytes, in the order asked for, ranges that overlap or
    nearly touch made one; None when the header is to be ignored.

    Raises RangeNotSatisfiable.
    """
    unit, equals, ranges = header.partition("=")
    if not equals or unit.strip().lower() != "bytes" or size == 0:
        return None
    specs = [spec for part in ranges.split(",") if (spec := part.strip(" \t"))]
    if not 1 <= len(specs) <= ranges_max:
        return None
    wanted = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        first, last = (_number(match[1]), _number(match[2])) if match else (None, None)
        if first is None and last is None:
            return None
        if first is not None and last is not None and last < first:
            return None
        found = _within(first, last, size)
        if found is not None:
            wanted.append(found)
    if not wanted:
        raise RangeNotSatisfiable(size=size)
    return wanted if len(wanted) == 1 else _coalesced(wanted)


def _within(first: int | None, last: int | None, size: int) -> ByteRange | None:
    """None for a range that has no byte of the content."""
    if first is None:
        return ByteRange(max(size - last, 0), size) if last else None
    if first >= size:
        return None
    return ByteRange(first, size if last is None else min(last + 1, size))


def _coalesced(wanted: list[ByteRange]) -> list[ByteRange]:
    """Each one where the first of those that it is made of stood."""
    places: list[tuple[int, ByteRange]] = []
    for place, found in sorted(enumerate(wanted), key=lambda item: item[1].start):
        if places and found.start <= places[-1][1].end + GAP_MAX_BYTES:
            earlier, before = places[-1]
            joined = ByteRange(before.start, max(before.end, found.end))
            places[-1] = min(earlier, place), joined
        else:
            places.append((place, found))
    return [found for _, found in sorted(places, key=lambda item: item[0])]


def _number(digits: str) -> int | None:
    if not digits:
        return None
    return int(digits) if len(digits) <= _DIGITS_MAX else _PAST_EVERYTHING
