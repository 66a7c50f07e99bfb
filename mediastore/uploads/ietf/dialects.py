"""What each interop version of the draft puts on the wire, as one table.

iOS 17 speaks 3, iOS 18.0 speaks 5, iOS 18.1 speaks 6, iOS 26 speaks 8. A client of the RFC to come
sends no version: it gets what version 8 gets.
"""

from dataclasses import dataclass, replace

INTEROP_VERSION = "Upload-Draft-Interop-Version"
APPEND_TYPE = "application/partial-upload"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version of the draft."""

    version: int
    completeness: str = "Upload-Complete"
    """The header that tells whether an upload is complete,"""
    inverted: bool = False
    """or, inverted, whether it is incomplete."""
    silence_completes: bool = False
    """An append without that header completes the upload."""
    append_type: str | None = APPEND_TYPE
    """The Content-Type of an append; None: any."""
    appended_status: int = 204
    """The answer to an append that does not complete."""
    lifetime_limit: str | None = "max-age"
    """The key of an upload's remaining seconds in Upload-Limit; None: there is no Upload-Limit."""
    final_tells_offset: bool = False
    """The final response has an Upload-Offset, and the upload's URL as its Location."""
    refuses_extra_fields: bool = False
    """HEAD and DELETE must not have the headers of creations and appends."""
    replays_final: bool = True
    """A repeated append to a completed upload gets the final response again."""
    tells_progress: bool = True
    """104 may come again, with Upload-Offset, while content is taken in."""

    def flag(self, *, complete: bool) -> str:
        """The value of the `completeness` header."""
        return "?1" if complete is not self.inverted else "?0"


_8 = Dialect(8)  # -09 to -11, the editor's copy after it, and the RFC to come
_7 = replace(_8, version=7, replays_final=False)  # -06 to -08
_6 = replace(  # -04 and -05
    _7,
    version=6,
    appended_status=201,
    lifetime_limit="expires",
    final_tells_offset=True,
    refuses_extra_fields=True,
)
_5 = replace(_6, version=5, append_type=None, lifetime_limit=None, replays_final=True)  # -03
_4 = replace(_5, version=4, tells_progress=False)  # -02
_3 = replace(  # -01
    _4, version=3, completeness="Upload-Incomplete", inverted=True, silence_completes=True
)

NEWEST = _8
OLDEST = _3
DIALECTS = {dialect.version: dialect for dialect in (_3, _4, _5, _6, _7, _8)}
