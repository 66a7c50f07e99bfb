"""Something that may be read: blob, size, and headers, rendered once for each way to ask."""

from dataclasses import dataclass, field
from typing import Self

from mediastore.catalog.reading import ReadableContent
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

    @property
    def name(self) -> str | None:
        """The object's name; None under a blob's URL, which carries its own."""
        return self.content.name
