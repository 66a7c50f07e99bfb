"""The running hash of an upload's whole content, from byte 0, kept by the process that has read it.

A process that takes an upload over has not seen its beginning: it reads the stored chunks back
(each verified against its name) until it has caught up. The result is the blob's id, so it is
computed from bytes, never from what anybody claims.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from mediastore.catalog.finishing import StoredChunk, stored_chunks
from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import mark_damaged
from mediastore.catalog.uploads import Upload
from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import ChunkStore, MissingKey
from mediastore.content.hashing import THREAD_WORTH_BYTES, BlobHasher, name_chunk
from mediastore.errors import ContentDamaged, ContentMissing
from mediastore.memory import MemoryBudget

PAGE_CHUNKS = 256
READS_MAX = 2  # of one copy: the first one may have been damaged on its way


class RunningHashes:
    """The hashers of uploads between their requests: the least recently used are forgotten."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._hashers: OrderedDict[UUID, BlobHasher] = OrderedDict()

    def take(self, upload: Upload) -> BlobHasher:
        """The hasher that stands at the upload's offset; one at 0 if this process has not read what
        lies before.
        """
        hasher = self._hashers.pop(upload.id, None)
        if hasher is None or hasher.offset > upload.offset:
            return BlobHasher(upload.declared_digests)
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

    Raises ContentMissing and ContentDamaged, after marking the copy; ChunkStoreUnavailable,
    CatalogUnavailable, Overloaded, after which it can be called again and goes on where it was.
    """
    while hasher.offset < until:
        chunks = await stored_chunks(
            catalog, upload, start=hasher.offset, end=until, limit=PAGE_CHUNKS
        )
        require_chunk_at(upload, chunks, hasher.offset)
        for chunk in chunks:
            await memory.acquire(chunk.size, timeout_seconds=wait_seconds)
            try:
                await follow(hasher, await read_back(catalog, store, chunk), chunk.offset)
            finally:
                memory.release(chunk.size)


async def follow(hasher: BlobHasher, data: bytes, start: int) -> None:
    """Hash what `hasher` lacks of `data`, which begins at `start`, if it has all before it."""
    seen = hasher.offset - start
    if 0 <= seen < len(data):
        await update_hash(hasher, data[seen:] if seen else data)


def require_chunk_at(upload: UUID, chunks: Sequence[StoredChunk], offset: int) -> None:
    """Raises ContentMissing unless the first of `chunks` holds the byte at `offset`."""
    if not chunks or not chunks[0].offset <= offset < chunks[0].offset + chunks[0].size:
        raise ContentMissing(f"upload {upload} has no chunk at {offset}")


async def read_back(catalog: Catalog, store: ChunkStore, chunk: StoredChunk) -> bytes:
    """A stored chunk's bytes, verified. A copy that is bad twice is marked: unmarked it would stay
    a dedup hit (INV-2), and no upload of the same bytes could ever heal it.
    """
    key = chunk_key(chunk.hash, chunk.generation)
    for _ in range(READS_MAX):
        try:
            data = await store.get(key)
        except MissingKey:
            await mark_damaged(catalog, chunk.hash, chunk.generation)
            raise ContentMissing(f"the store lacks {key}") from None
        if (await asyncio.to_thread(name_chunk, data)).hash == chunk.hash:
            return data
    await mark_damaged(catalog, chunk.hash, chunk.generation)
    raise ContentDamaged(f"the bytes of {key} do not have its hash")
