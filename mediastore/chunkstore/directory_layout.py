"""Where a key's file is in the directory driver's folder, and the keys in order.

    .mediastore-chunks              marks the folder as a chunk store
    chunks/ab/cd/<hash>.<generation>   a chunk whose hash begins with abcd: 300 million make
                                    65,536 folders of 4,600 files
    documents/<name>                `_mediastore/<name>`, with % for /
    temporary/                      files being written

Folders sort as the keys in them do, so a listing in key order holds the names of one folder at a
time. Files with other names are somebody else's: they are neither listed nor touched.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mediastore.chunkstore.keys import DOCUMENT_PREFIX, PREFIX, is_document_key, require_key
from mediastore.chunkstore.protocol import Entry

_CHUNK_FILE = re.compile(r"([0-9a-f]{64})\.([0-9a-f]{16})")
_FOLDER = re.compile(r"[0-9a-f]{2}")
LEAVES = 1 << 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below `root`."""

    root: Path

    @property
    def marker(self) -> Path:
        return self.root / ".mediastore-chunks"

    @property
    def lock(self) -> Path:
        return self.root / ".documents.lock"

    @property
    def chunks(self) -> Path:
        return self.root / "chunks"

    @property
    def documents(self) -> Path:
        return self.root / "documents"

    @property
    def temporary(self) -> Path:
        return self.root / "temporary"

    def path(self, key: str) -> Path:
        """The file of `key`. Raises ValueError for what is not a key."""
        require_key(key)
        if is_document_key(key):
            return self.documents / key.removeprefix(DOCUMENT_PREFIX).replace("/", "%")
        hash_, generation = key.removeprefix(PREFIX).split("/")
        return self.chunks / hash_[:2] / hash_[2:4] / f"{hash_}.{generation}"

    def keys(self, *, prefix: str, after: str) -> Iterator[tuple[str, Path]]:
        """Keys behind `after` that begin with `prefix`, ascending, with their files."""
        # "_mediastore/" sorts before "chunks/"
        yield from self._documents(prefix, after)
        for first in _folders(self.chunks, PREFIX, prefix, after):
            start = PREFIX + first.name
            for second in _folders(first, start, prefix, after):
                yield from _chunks(second, prefix, after)

    def _documents(self, prefix: str, after: str) -> Iterator[tuple[str, Path]]:
        if not _may_hold(DOCUMENT_PREFIX, prefix, after):
            return
        # The whole key is compared, because % does not sort as / does.
        names = _names(self.documents)
        for key in sorted(DOCUMENT_PREFIX + name.replace("%", "/") for name in names):
            if is_document_key(key) and key.startswith(prefix) and key > after:
                yield key, self.path(key)


def entry(key: str, path: Path, *, header_bytes: int) -> Entry | None:
    """Key and size of a file's body; None when it has been deleted."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    return Entry(key, max(0, size - header_bytes) if is_document_key(key) else size)


def _folders(parent: Path, start: str, prefix: str, after: str) -> Iterator[Path]:
    """Fan-out folders in `parent`, whose keys begin with `start` and the folder's name."""
    for name in _names(parent):
        if _FOLDER.fullmatch(name) and _may_hold(start + name, prefix, after):
            yield parent / name


def _chunks(folder: Path, prefix: str, after: str) -> Iterator[tuple[str, Path]]:
    for name in _names(folder):
        match = _CHUNK_FILE.fullmatch(name)
        if match is None:
            continue
        key = f"{PREFIX}{match[1]}/{match[2]}"
        if key.startswith(prefix) and key > after:
            yield key, folder / name


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _may_hold(start: str, prefix: str, after: str) -> bool:
    """Whether a key that begins with `start` can begin with `prefix` and be behind `after`."""
    return (start.startswith(prefix) or prefix.startswith(start)) and start >= after[: len(start)]
