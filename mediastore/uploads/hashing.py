"""Hashing what an upload holds in memory, off the event loop when that is worth it, and comparing
with what its client declared.
"""

import asyncio
from collections.abc import Mapping, Sequence

from mediastore.content.digests import Digester
from mediastore.content.hashing import THREAD_WORTH_BYTES, BlobHasher
from mediastore.errors import BadDigest
from mediastore.uploads.batch import Batch


async def hash_batch(batch: Batch, *hashers: BlobHasher | Digester) -> None:
    """Hash a batch's chunks, in a thread when that is worth it."""
    if not hashers:
        return
    if batch.size < THREAD_WORTH_BYTES:
        _hash_chunks(batch, hashers)
    else:
        await asyncio.to_thread(_hash_chunks, batch, hashers)


def _hash_chunks(batch: Batch, hashers: Sequence[BlobHasher | Digester]) -> None:
    for chunk in batch.chunks:
        for hasher in hashers:
            hasher.update(chunk.data)


def declared_digests(hasher: BlobHasher, declared: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The digests of content that ends here. Raises BadDigest unless they are those declared."""
    digests = hasher.digests()
    if digests != declared:
        raise BadDigest
    return digests
