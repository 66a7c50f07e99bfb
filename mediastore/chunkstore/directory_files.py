"""The directory driver's blocking half: files, folders and the documents' lock.

Runs in the driver's threads. OSError goes up to the driver's door; a chunk store folder without its
marker (a mount that went away, a wrong path) is unavailable, never empty.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from mediastore.chunkstore.directory_layout import LEAVES, Layout, entry
from mediastore.chunkstore.durable_files import TemporaryFolder, sync_folder
from mediastore.chunkstore.protocol import (
    PAGE_ENTRIES_MAX,
    ConditionFailed,
    Entry,
    MissingKey,
    Versioned,
)
from mediastore.errors import ChunkStoreUnavailable

_T = TypeVar("_T")
_MARKER_BODY = b"A mediastore chunk store, layout 1. Without this file the folder is not used.\n"
_PROBE_BODY = b"mediastore writes and reads this to see that it can\n"
_DOCUMENT = re.compile(rb"([0-9a-f]{32})\n(.*)", re.DOTALL)
_HEADER_BYTES = 33  # the version and a newline


class DocumentsLocked(Exception):
    """Another process or thread is changing a document."""


class ChunkFiles:
    """The folder `root`; keys are checked by the driver."""

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root.absolute())
        self._temporary = TemporaryFolder(self._layout.temporary)
        # Leaf folders whose own names this process has made durable. Finding a folder there is not
        # enough: its maker may not have come to fsync its parent yet.
        self._durable = bytearray(LEAVES)

    def prepare(self, now: datetime) -> None:
        layout = self._layout
        _make_folder(layout.root)
        for folder in (layout.chunks, layout.documents, layout.temporary):
            folder.mkdir(exist_ok=True)
        if not layout.marker.exists():
            self._temporary.write(_MARKER_BODY).replace(layout.marker)
        sync_folder(layout.root)
        self._temporary.sweep(now)

    def require_store(self) -> None:
        if not self._layout.marker.exists():
            raise ChunkStoreUnavailable(
                "the chunk store's folder is not there (its marker is gone)"
            )

    def put_chunk(self, key: str, body: bytes | memoryview) -> None:
        path = self._layout.path(key)
        leaf = int(path.name[:4], 16)
        temporary = self._temporary.write(body)
        try:
            try:
                temporary.replace(path)
            except FileNotFoundError:
                self.require_store()
                self._durable[leaf] = False
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        if not self._durable[leaf]:
            sync_folder(path.parent.parent)
            sync_folder(self._layout.chunks)
            self._durable[leaf] = True

    def read(self, key: str) -> bytes:
        try:
            with self._layout.path(key).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                body = file.read()
        except FileNotFoundError:
            self.require_store()
            raise MissingKey(key) from None
        if len(body) != size:
            raise ChunkStoreUnavailable("a chunk's file was read short")
        return body

    def head(self, key: str) -> Entry:
        found = entry(key, self._layout.path(key), header_bytes=_HEADER_BYTES)
        if found is None:
            self.require_store()
            raise MissingKey(key)
        return found

    def read_document(self, key: str) -> Versioned:
        match = _DOCUMENT.fullmatch(self.read(key))
        if match is None:
            raise ChunkStoreUnavailable("a document in the chunk store is damaged")
        return Versioned(match[2], match[1].decode())

    def put_document_if(self, key: str, body: bytes, version: str | None) -> str:
        try:
            current = self.read_document(key).version
        except MissingKey:
            current = None
        if current != version:
            raise ConditionFailed(key)
        return self.put_document(key, body)

    def put_document(self, key: str, body: bytes | memoryview) -> str:
        version = secrets.token_hex(16)
        temporary = self._temporary.write(version.encode() + b"\n", body)
        try:
            temporary.replace(self._layout.path(key))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(self._layout.documents)
        return version

    def delete(self, keys: Sequence[str]) -> dict[str, str | None]:
        """Each key's error, None when deleted; deletions are durable when this returns."""
        paths = {key: self._layout.path(key) for key in keys}
        fates: dict[str, str | None] = {}
        for key, path in paths.items():
            try:
                path.unlink(missing_ok=True)
                fates[key] = None
            except OSError as error:
                fates[key] = reason(error)
        for folder in {path.parent for path in paths.values()}:
            try:
                sync_folder(folder)
            except FileNotFoundError:
                continue  # nothing was ever put there
            except OSError as error:
                fates.update((key, reason(error)) for key in keys if paths[key].parent == folder)
        self.require_store()  # last: an unlink that found nothing proves nothing without it
        if fates and None not in fates.values():
            raise ChunkStoreUnavailable("the chunk store deleted none of the keys")
        return fates

    def page(self, prefix: str, after: str) -> tuple[list[Entry], str | None]:
        """Entries, and where to go on; None when there are no more."""
        keys = list(islice(self._layout.keys(prefix=prefix, after=after), PAGE_ENTRIES_MAX))
        found = [entry(key, path, header_bytes=_HEADER_BYTES) for key, path in keys]
        self.require_store()
        more = keys[-1][0] if len(keys) == PAGE_ENTRIES_MAX else None
        return [each for each in found if each is not None], more

    def probe(self) -> None:
        self.require_store()
        path = self._temporary.write(_PROBE_BODY)
        try:
            if path.read_bytes() != _PROBE_BODY:
                raise ChunkStoreUnavailable("the chunk store does not return what was written")
        finally:
            path.unlink(missing_ok=True)

    def locked(self, work: Callable[[], _T]) -> _T:
        """`work` under the lock between processes. Raises DocumentsLocked instead of waiting."""
        self.require_store()
        descriptor = os.open(self._layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DocumentsLocked from None
            return work()
        finally:
            os.close(descriptor)  # and so unlocks


def reason(error: OSError) -> str:
    """What the operating system says is wrong; no paths."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


def _make_folder(path: Path) -> None:
    """`path` with its parents, and their names durable."""
    if not path.exists():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)
