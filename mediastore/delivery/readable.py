"""Something that may be read: blob, size, and headers, rendered once for each way to ask; and what
is made of it, which lives as long as it is believed that this may be read (INV-10).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from mediastore.catalog.reading import ReadableContent
from mediastore.delivery.granting import Grant
from mediastore.delivery.headers import Asked, HeaderLines, HeaderRenderer

_KEPT_MAX = 16
_ACCEPT_LENGTH_MAX = 256
Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Readable:
    """What a live object lets its tenant read."""

    blob: bytes
    size: int
    public: bool
    content: ReadableContent
    _kept: dict[Asked, HeaderLines] = field(default_factory=dict)
    _kept_whole: dict[tuple[str, int | None, int | None, Fields], bytes] = field(
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
            if len(self._kept) >= _KEPT_MAX:
                self._kept.clear()
            self._kept[asked] = lines
        return lines

    def whole_lines(
        self, filename: str, grant: Grant, also: Fields, renderer: HeaderRenderer
    ) -> bytes:
        """As `lines` has them for a whole answer; `grant` is one that needed no key, which differ
        by their times alone. Found by what is quick to hash: that takes a tenth of a small answer.
        """
        key = (filename, grant.until, grant.seconds_max, also)
        whole = self._kept_whole.get(key)
        if whole is None:
            whole = self.lines(Asked(filename, grant, also=also), renderer).whole
            if len(self._kept_whole) >= _KEPT_MAX:
                self._kept_whole.clear()
            self._kept_whole[key] = whole
        return whole

    def derived(self, path: str, accept: str) -> "Derived | None":
        """What is known to be under `path`, relative to this one's URL, for such an Accept."""
        return self._derived.get((path, None)) or self._derived.get((path, accept))

    def keep_derived(self, path: str, accept: str | None, derived: "Derived") -> None:
        """`accept`: what it was chosen by; None: it is the same for every one."""
        if accept is not None and len(accept) > _ACCEPT_LENGTH_MAX:
            return
        if len(self._derived) >= _KEPT_MAX:
            self._derived.clear()
        self._derived[path, accept] = derived

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
    also: Fields
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
