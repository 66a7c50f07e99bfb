"""The memory driver: a dictionary. For tests; everything is gone at exit."""

import heapq
import itertools
from collections.abc import AsyncIterator, Sequence

from mediastore.chunkstore.keys import require_document_key, require_key
from mediastore.chunkstore.protocol import (
    DELETE_KEYS_MAX,
    PAGE_ENTRIES_MAX,
    ConditionFailed,
    DeleteResult,
    Entry,
    MissingKey,
    Versioned,
)
from mediastore.content import checksum
from mediastore.errors import ChunkStoreUnavailable


class MemoryChunkStore:
    """Keeps every body in this process."""

    def __init__(self) -> None:
        self._held: dict[str, Versioned] = {}
        self._versions = itertools.count(1)

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        require_key(key)
        if checksum.crc32(body) != crc32:
            raise ChunkStoreUnavailable("the body does not have the CRC-32 it was sent with")
        self._hold(key, body)

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        require_document_key(key)
        held = self._held.get(key)
        if version != (None if held is None else held.version):
            raise ConditionFailed(key)
        return self._hold(key, body)

    async def get(self, key: str) -> bytes:
        return self._find(key).body

    async def get_versioned(self, key: str) -> Versioned:
        require_document_key(key)
        return self._find(key)

    async def head(self, key: str) -> Entry:
        return Entry(key, len(self._find(key).body))

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        if len(keys) > DELETE_KEYS_MAX:
            raise ValueError(f"at most {DELETE_KEYS_MAX} keys at once")
        for key in keys:
            require_key(key)
        for key in keys:
            self._held.pop(key, None)
        return [DeleteResult(key) for key in keys]

    async def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        while True:
            wanted = (key for key in self._held if key.startswith(prefix) and key > after)
            keys = heapq.nsmallest(PAGE_ENTRIES_MAX, wanted)
            if not keys:
                return
            yield [Entry(key, len(self._held[key].body)) for key in keys]
            after = keys[-1]

    async def check(self) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        self._held.clear()

    def _find(self, key: str) -> Versioned:
        require_key(key)
        try:
            return self._held[key]
        except KeyError:
            raise MissingKey(key) from None

    def _hold(self, key: str, body: bytes | memoryview) -> str:
        version = str(next(self._versions))
        self._held[key] = Versioned(bytes(body), version)
        return version
