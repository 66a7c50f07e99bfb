"""Chunk keys: `chunks/<64 hex of the hash>/<16 hex of the generation>`.

They sort in the store as (hash, generation) sorts in Postgres (bytea, bigint), so that two sorted
streams can be merged. The generation makes the key of every newly stored copy new (INV-3).
"""

import re
import secrets

PREFIX = "chunks/"
COLLECTOR_MARKER = "_mediastore/collector"
_KEY = re.compile(r"chunks/([0-9a-f]{64})/([0-9a-f]{16})")
GENERATION_BITS = 62


def chunk_key(hash_: bytes, generation: int) -> str:
    """The key of one stored copy. Raises ValueError for a hash that is not 32 bytes."""
    if len(hash_) != 32 or not 0 <= generation < 1 << GENERATION_BITS:
        raise ValueError("a chunk key needs a 32-byte hash and a 62-bit generation")
    return f"chunks/{hash_.hex()}/{generation:016x}"


def parse_chunk_key(key: str) -> tuple[bytes, int]:
    """Hash and generation of a key. Raises ValueError when it is not a chunk key."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"not a chunk key: {key!r}")
    return bytes.fromhex(match[1]), int(match[2], 16)


def new_generation() -> int:
    """A random 62-bit number: positive in a Postgres bigint."""
    return secrets.randbits(GENERATION_BITS)
