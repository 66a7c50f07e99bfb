"""Something that may be read: blob, size, and headers, rendered once for each way to ask."""

from dataclasses import dataclass, field
from typing import Self

from mediastore.catalog.reading import ReadableContent
from mediastore.delivery.granting import Grant
from mediastore.delivery.headers import Asked, HeaderLines, HeaderRenderer

_KEPT_MAX = 16


@dataclass(frozen=True, slots=True)
class Readable:
    """What a live object lets its tenant read."""

    blob: bytes
    size: int
    public: bool
    content: ReadableContent
    _kept: dict[Asked, HeaderLines] = field(default_factory=dict)
    _kept_whole: dict[tuple[str, int | None], bytes] = field(default_factory=dict)

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

    def whole_lines(self, filename: str, grant: Grant, renderer: HeaderRenderer) -> bytes:
        """As `lines` has them for a whole answer; `grant` is one that needed no key, which differ
        by `until` alone. Found by what is quick to hash: that takes a tenth of a small answer.
        """
        key = (filename, grant.until)
        whole = self._kept_whole.get(key)
        if whole is None:
            whole = self.lines(Asked(filename, grant), renderer).whole
            if len(self._kept_whole) >= _KEPT_MAX:
                self._kept_whole.clear()
            self._kept_whole[key] = whole
        return whole

    @property
    def name(self) -> str | None:
        """The object's name; None under a blob's URL, which carries its own."""
        return self.content.name
