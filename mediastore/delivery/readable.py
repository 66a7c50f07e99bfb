"""Something that may be read: blob, size, and headers rendered once for each file name."""

from dataclasses import dataclass, field

from mediastore.catalog.reading import ReadableContent
from mediastore.delivery.headers import (
    BLOB_PRIVATE,
    BLOB_PUBLIC,
    OBJECT,
    HeaderLines,
    render,
)

_FILENAMES_MAX = 8


@dataclass(frozen=True, slots=True)
class Readable:
    """What a live object lets its tenant read."""

    blob: bytes
    size: int
    public: bool
    _content: ReadableContent
    _cache_control: str
    _by_filename: dict[str | None, HeaderLines] = field(default_factory=dict)

    def lines(self, filename: str | None) -> HeaderLines:
        """Headers of this content under `filename`."""
        lines = self._by_filename.get(filename)
        if lines is None:
            lines = render(
                blob=self.blob,
                size=self.size,
                modified=int(self._content.created_at.timestamp()),
                content_type=self._content.content_type,
                filename=filename,
                cache_control=self._cache_control,
            )
            if len(self._by_filename) >= _FILENAMES_MAX:
                self._by_filename.clear()
            self._by_filename[filename] = lines
        return lines

    @property
    def name(self) -> str | None:
        """The object's name; None under a blob's URL, which carries its own."""
        return self._content.name


def readable_object(content: ReadableContent) -> Readable:
    """For an object's URL: whoever keeps the answer asks again each time."""
    return Readable(content.blob, content.size, content.public, content, OBJECT)


def readable_blob(content: ReadableContent) -> Readable:
    """For a blob's URL: the bytes behind it never change."""
    cache_control = BLOB_PUBLIC if content.public else BLOB_PRIVATE
    return Readable(content.blob, content.size, content.public, content, cache_control)
