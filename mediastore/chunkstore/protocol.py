"""The chunk store protocol: what every driver does and every wrapper passes on.

Keys are the ones of `keys.py`; any other is a ValueError. A driver raises only
`ChunkStoreUnavailable` (transient; the retrying wrapper tries again), `StorageFull`, and what a
method's docstring names.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class MissingKey(Exception):
    """The store has nothing under that key."""


class ConditionFailed(Exception):
    """A conditional put found another version than the one it named."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a listing or a head."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Versioned:
    """A small document and the version tag that a conditional put names."""

    body: bytes
    version: str


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """What became of one key of a delete. A key that was not there counts as deleted."""

    key: str
    error: str | None = None

    @property
    def deleted(self) -> bool:
        return self.error is None


DELETE_KEYS_MAX = 1000
PAGE_ENTRIES_MAX = 1000


class ChunkStore(Protocol):
    """Immutable bytes under unique keys, plus a few small versioned documents (`_mediastore/…`)."""

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        """Store `body`; durable and visible as a whole when this returns, never in part before.
        A store that keeps it for longer, keeps a copy or a view.

        `crc32` is zlib's of `body`, computed where the body was hashed: a body that was damaged on
        the way is refused. Putting a key again replaces it.
        Raises ChunkStoreUnavailable, StorageFull.
        """

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        """Store a small document only if its version is still `version` (None: only if absent).

        Returns the new version. ConditionFailed says "read it again", not "another was first": it
        may follow a put of one's own whose answer was lost. S3's version is the ETag, which
        equal bodies may share: a document whose old content must not come back carries a counter.
        Raises ConditionFailed, ChunkStoreUnavailable, StorageFull.
        """

    async def get(self, key: str) -> bytes:
        """All bytes of `key`. Raises MissingKey, ChunkStoreUnavailable."""

    async def get_versioned(self, key: str) -> Versioned:
        """A small document with its version. Raises MissingKey, ChunkStoreUnavailable."""

    async def head(self, key: str) -> Entry:
        """The size of `key`. Raises MissingKey, ChunkStoreUnavailable."""

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        """Delete up to 1,000 keys; one result for each key, in the order given.

        Raises ChunkStoreUnavailable when no key's fate is known; ValueError over 1,000 keys.
        """

    def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        """Pages of at most 1,000 entries in ascending key order, those behind `after` first.

        Raises ChunkStoreUnavailable.
        """

    async def check(self) -> None:
        """Write and read a probe, for readiness. Raises ChunkStoreUnavailable, StorageFull."""

    async def close(self) -> None:
        """Give back connections and files."""
