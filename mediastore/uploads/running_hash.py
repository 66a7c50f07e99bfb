"""The running hash of an upload's whole content, from byte 0, kept by the process that has read it.

A process that takes an upload over has not seen its beginning: it reads the stored chunks back
(each verified against its name) until it has caught up. The result is the blob's id, so it is
computed from bytes, never from what anybody claims.
"""

import asyncio
from collections import OrderedDict
from uuid import UUID

from mediastore.catalog.finishing import StoredChunk, stored_chunks
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import ChunkStore, MissingKey
from mediastore.content.hashing import THREAD_WORTH_BYTES, BlobHasher, name_chunk
from mediastore.errors import ContentDamaged, ContentMissing
from mediastore.memory import MemoryBudget

PAGE_CHUNKS = 256


class RunningHashes:
    """The hashers of uploads between their requests: the least recently used are forgotten."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._hashers: OrderedDict[UUID, BlobHasher] = OrderedDict()

    def take(self, upload: UUID, offset: int) -> BlobHasher:
        """The hasher that stands at `offset`; one at 0 if this process has not read what lies
        before.
        """
        hasher = self._hashers.pop(upload, None)
        if hasher is None or hasher.offset > offset:
            return BlobHasher()
        return hasher

    def keep(self, upload: UUID, hasher: BlobHasher) -> None:
        self._hashers[upload] = hasher
        while len(self._hashers) > self._entries_max:
            self._hashers.popitem(last=False)

    def forget(self, upload: UUID) -> None:
        self._hashers.pop(upload, None)


async def update_hash(hasher: BlobHasher, data: bytes) -> None:
    """Hash `data`, in a thread when that is worth it."""
    if len(data) < THREAD_WORTH_BYTES:
        hasher.update(data)
    else:
        await asyncio.to_thread(hasher.update, data)


async def catch_up(
    catalog: Catalog,
    store: ChunkStore,
    memory: MemoryBudget,
    upload: UUID,
    hasher: BlobHasher,
    until: int,
    *,
    wait_seconds: float,
) -> None:
    """Hash an upload's stored chunks from where `hasher` stands to the offset `until`.

    Raises ContentMissing, ContentDamaged, ChunkStoreUnavailable, Overloaded.
    """
    while hasher.offset < until:
        chunks = await stored_chunks(
            catalog, upload, start=hasher.offset, end=until, limit=PAGE_CHUNKS
        )
        if not chunks or chunks[0].offset != hasher.offset:
            raise ContentMissing(f"upload {upload} has no chunk at {hasher.offset}")
        for chunk in chunks:
            await memory.acquire(chunk.size, timeout_seconds=wait_seconds)
            try:
                await update_hash(hasher, await _read_back(store, chunk))
            finally:
                memory.release(chunk.size)


async def _read_back(store: ChunkStore, chunk: StoredChunk) -> bytes:
    key = chunk_key(chunk.hash, chunk.generation)
    try:
        data = await store.get(key)
    except MissingKey:
        raise ContentMissing(f"the store lacks {key}") from None
    if (await asyncio.to_thread(name_chunk, data)).hash != chunk.hash:
        raise ContentDamaged(f"the bytes of {key} do not have its hash")
    return data
