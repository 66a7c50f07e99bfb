"""The headers of a request, read as the draft wants it: structured fields (RFC 9651), strictly; one
with a value of another kind counts as absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import http_sf
from multidict import CIMultiDictProxy

from mediastore.errors import BadLength, BadRequest
from mediastore.ietf_errors import InconsistentUploadLength, UnsupportedInteropVersion
from mediastore.uploads.ietf.dialects import (
    APPEND_TYPE,
    DIALECTS,
    INTEROP_VERSION,
    NEWEST,
    OLDEST,
    Dialect,
)

Headers = CIMultiDictProxy[str]
_CREATION_FIELDS = ("Upload-Offset", "Upload-Complete", "Upload-Incomplete", "Upload-Length")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says in this protocol's headers."""

    dialect: Dialect
    version_sent: bool
    complete: bool | None
    offset: int | None
    length: int | None
    content_length: int | None
    """Bytes of this request's content; None: its end will tell."""

    @property
    def completes(self) -> bool:
        """Is the content's end the end of the upload? Raises BadRequest when it does not say."""
        if self.complete is None:
            raise BadRequest(f"{self.dialect.completeness} must be ?0 or ?1")
        return self.complete

    @property
    def at(self) -> int:
        """The offset of the content. Raises BadLength when there is none."""
        if self.offset is None:
            raise BadLength("Upload-Offset must be a non-negative integer")
        return self.offset

    def told_length(self, offset: int) -> int | None:
        """The upload's length as this request tells it, with its content at `offset`.

        Raises InconsistentUploadLength when its two indicators differ.
        """
        if not self.completes or self.content_length is None:
            return self.length
        whole = offset + self.content_length
        if self.length is not None and self.length != whole:
            raise InconsistentUploadLength(
                f"Upload-Length is {self.length}, but the content ends at {whole}"
            )
        return whole


def speaks_draft(headers: Headers) -> bool:
    """Does the request say that it is of this protocol?"""
    return (
        any(name in headers for name in ("Upload-Complete", "Upload-Incomplete", INTEROP_VERSION))
        or headers.get("Content-Type") == APPEND_TYPE
    )


def read_fields(headers: Headers, *, content_length: int | None) -> Asked:
    """Raises UnsupportedInteropVersion."""
    dialect = _dialect(headers)
    return Asked(
        dialect=dialect,
        version_sent=INTEROP_VERSION in headers,
        complete=_complete(headers, dialect),
        offset=count(headers, "Upload-Offset"),
        length=count(headers, "Upload-Length"),
        content_length=content_length,
    )


def has_creation_fields(headers: Mapping[str, str]) -> bool:
    return any(name in headers for name in _CREATION_FIELDS)


def _dialect(headers: Headers) -> Dialect:
    """The dialect of a request; without a version its header for completeness tells."""
    if INTEROP_VERSION not in headers:
        return OLDEST if OLDEST.completeness in headers else NEWEST
    dialect = DIALECTS.get(count(headers, INTEROP_VERSION) or 0)
    if dialect is None:
        raise UnsupportedInteropVersion(
            f"{INTEROP_VERSION} may be {', '.join(map(str, DIALECTS))}, or be left out",
            supported=list(DIALECTS),
        )
    return dialect


def _complete(headers: Headers, dialect: Dialect) -> bool | None:
    if dialect.silence_completes and dialect.completeness not in headers:
        return True
    flag = item(headers, dialect.completeness)
    return flag is not dialect.inverted if isinstance(flag, bool) else None


def count(headers: Headers, name: str) -> int | None:
    """A header that is a non-negative Integer. None: it is absent, or not that."""
    value = item(headers, name)
    return value if isinstance(value, int) and type(value) is int and value >= 0 else None


def item(headers: Headers, name: str) -> object:
    """A header that is an Item (section 3.3), its parameters passed over. None: there is none."""
    lines = headers.getall(name, [])
    if not lines:
        return None
    try:
        # An Item that comes twice is one line with a comma (section 4.2), which is no Item.
        parsed = http_sf.parse(", ".join(lines).encode(errors="replace"), tltype="item")
    except http_sf.StructuredFieldError:
        return None
    return parsed[0] if isinstance(parsed, tuple) else None
