"""What an audit finds, by kind: how bad it is, how often it was met, the first of each by name."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

SHOWN_MAX = 100


class Severity(StrEnum):
    """What a finding costs."""

    DANGER = "danger"  # a byte is lost, or could be
    LEAK = "leak"  # space that would not come back


class Kind(StrEnum):
    """What can be found; the value is stable and is what --json says."""

    REFS_TOO_LOW = "refs_too_low"
    REFS_TOO_HIGH = "refs_too_high"
    CHUNK_WITHOUT_ROW = "chunk_without_row"
    CHUNK_NEVER_STORED = "chunk_never_stored"
    BAD_LIST = "bad_list"
    BLOB_REFS_TOO_LOW = "blob_refs_too_low"
    BLOB_REFS_TOO_HIGH = "blob_refs_too_high"
    BLOB_PUT_ASIDE = "blob_put_aside"
    NOT_GARBAGE = "not_garbage"
    GARBAGE_MISSING = "garbage_missing"
    UPLOAD_GAP = "upload_gap"
    UPLOAD_NOT_STORED = "upload_not_stored"
    DOOMED_KEY_IN_USE = "doomed_key_in_use"
    QUARANTINED = "quarantined"
    KEY_MISSING = "key_missing"
    ORPHAN = "orphan"
    CHUNK_DAMAGED = "chunk_damaged"

    @property
    def severity(self) -> Severity:
        return Severity.LEAK if self in _LEAKS else Severity.DANGER


_LEAKS = frozenset(
    {Kind.REFS_TOO_HIGH, Kind.BLOB_REFS_TOO_HIGH, Kind.BLOB_PUT_ASIDE, Kind.GARBAGE_MISSING,
     Kind.QUARANTINED, Kind.ORPHAN}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them. `about` is a hash, key or id."""

    kind: Kind
    about: str
    detail: str
    mended: bool


@dataclass(slots=True)
class Findings:
    """All that was met: counted by kind, the first of each kind in full."""

    met: Counter[Kind] = field(default_factory=Counter)
    mended: Counter[Kind] = field(default_factory=Counter)
    shown: list[Finding] = field(default_factory=list)

    def add(self, kind: Kind, about: str, detail: str, *, mended: bool = False) -> None:
        self.met[kind] += 1
        self.mended[kind] += mended
        if self.met[kind] <= SHOWN_MAX:
            self.shown.append(Finding(kind, about, detail, mended))

    def unmended_of(self, kind: Kind) -> int:
        return self.met[kind] - self.mended[kind]

    @property
    def unmended(self) -> int:
        return self.met.total() - self.mended.total()
