"""Something that may be read: blob, size, and headers, rendered once for each way to ask; and what
is made of it, which lives as long as it is believed that this may be read (INV-10).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from mediastore.catalog.reading import ReadableContent
from mediastore.delivery.granting import Grant
from mediastore.delivery.headers import Asked, HeaderFields, HeaderLines, HeaderRenderer

_KEPT_MAX = 16
_ACCEPT_LENGTH_MAX = 256
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Readable:
    """What a live object lets its tenant read."""

    blob: bytes
    size: int
    public: bool
    content: ReadableContent
    _kept: dict[Asked, HeaderLines] = field(default_factory=dict)
    _kept_whole: dict[tuple[str, int | None, int | None, HeaderFields], bytes] = field(
        default_factory=dict
    )
    _derived: "dict[tuple[str, str | None], Derived]" = field(default_factory=dict)

    @classmethod
    def of(cls, content: ReadableContent) -> Self:
        return cls(content.blob, content.size, content.public, content)

    def lines(self, asked: Asked, renderer: HeaderRenderer) -> HeaderLines:
        """Headers of this content for what was asked."""
        lines = self._kept.get(asked)
        if lines is None:
            lines = renderer.render(self.content, asked)
            _keep(self._kept, asked, lines)
        return lines

    def whole_lines(
        self, filename: str, grant: Grant, also: HeaderFields, renderer: HeaderRenderer
    ) -> bytes:
        """As `lines` has them for a whole answer; `grant` is one that needed no key, which differ
        by their times alone. Found by what is quick to hash: that takes a tenth of a small answer.
        """
        key = (filename, grant.until, grant.seconds_max, also)
        whole = self._kept_whole.get(key)
        if whole is None:
            whole = self.lines(Asked(filename, grant, also=also), renderer).whole
            _keep(self._kept_whole, key, whole)
        return whole

    def derived(self, path: str, headers: CIMultiDictProxy[str]) -> "Derived | None":
        """What is known to be under `path`, relative to this one's URL, for such a request."""
        return self._derived.get((path, None)) or self._derived.get((path, _accept(headers)))

    def keep_derived(
        self, path: str, headers: CIMultiDictProxy[str], derived: "Derived", *, varies: bool
    ) -> None:
        """`varies`: it was chosen by the request's Accept, and is what others like it get."""
        accept = _accept(headers) if varies else None
        if accept is None or len(accept) <= _ACCEPT_LENGTH_MAX:
            _keep(self._derived, (path, accept), derived)

    def forget_derived(self) -> None:
        """Find out again."""
        self._derived.clear()

    @property
    def name(self) -> str | None:
        """The object's name; None under a blob's URL, which carries its own."""
        return self.content.name


@dataclass(frozen=True, slots=True)
class Derived:
    """What was made of something and is read under a URL of its own, by whoever may read that."""

    readable: Readable
    filename: str
    also: HeaderFields
    """Header fields of every answer."""
    free: bool
    """Its URL has parameters that anybody could make up; see Granting."""
    seconds_max: int | None
    """Caches keep it no longer, but for a signed link that says itself how long."""
    route: str
    """What its answers are counted under."""
    count: Callable[[], None]
    """To be called for each of them."""

    def granted(self, grant: Grant) -> Grant:
        """What the grant of its source allows of this."""
        if self.seconds_max is None or grant.until is not None:
            return grant
        if grant.seconds_max is not None and grant.seconds_max <= self.seconds_max:
            return grant
        return replace(grant, seconds_max=self.seconds_max)


def _accept(headers: CIMultiDictProxy[str]) -> str:
    return ",".join(headers.getall(hdrs.ACCEPT, ()))


def _keep(kept: dict[Key, Value], key: Key, value: Value) -> None:
    """A client can make up as many keys as it likes: all are forgotten when there are too many."""
    if len(kept) >= _KEPT_MAX:
        kept.clear()
    kept[key] = value
