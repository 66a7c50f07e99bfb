"""What the store holds under a chunk's key, as a value: None is an answer here, not an error."""

import asyncio

from mediastore.chunkstore.protocol import ChunkStore, MissingKey
from mediastore.content.hashing import THREAD_WORTH_BYTES, name_chunk


async def held_size(store: ChunkStore, key: str) -> int | None:
    """The size of what is under `key` in bytes; None: nothing is. Raises ChunkStoreUnavailable."""
    try:
        return (await store.head(key)).size
    except MissingKey:
        return None


async def verified_body(store: ChunkStore, key: str, hash_: bytes) -> bytes | None:
    """What is under `key`, if that has this hash (INV-9); None: it has another, or nothing is.

    Raises ChunkStoreUnavailable.
    """
    try:
        body = await store.get(key)
    except MissingKey:
        return None
    if len(body) < THREAD_WORTH_BYTES:
        name = name_chunk(body)
    else:
        name = await asyncio.to_thread(name_chunk, body)
    return body if name.hash == hash_ else None
