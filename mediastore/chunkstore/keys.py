"""Chunk keys: `chunks/<64 hex of the hash>/<16 hex of the generation>`.

They sort in the store as (hash, generation) sorts in Postgres (bytea, bigint), so that two sorted
streams can be merged. The generation makes the key of every newly stored copy new (INV-3).
The few small versioned documents of the collector are under `_mediastore/`.
"""

import re
import secrets

PREFIX = "chunks/"
DOCUMENT_PREFIX = "_mediastore/"
COLLECTOR_MARKER = "_mediastore/collector"
ERASURES_PREFIX = "_mediastore/erasures/"
_KEY = re.compile(r"chunks/([0-9a-f]{64})/([0-9a-f]{16})")
_DOCUMENT = re.compile(r"_mediastore/[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
DOCUMENT_KEY_MAX_LENGTH = 200  # a file name in the directory driver
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


def require_key(key: str) -> None:
    """Raise ValueError unless `key` is a chunk's or a document's: all that a store may hold."""
    if _KEY.fullmatch(key) is None and not is_document_key(key):
        raise ValueError(f"neither a chunk key nor a document key: {key!r}")


def require_document_key(key: str) -> None:
    """Raise ValueError unless `key` is a document's: only those have versions."""
    if not is_document_key(key):
        raise ValueError(f"not a document key: {key!r}")


def is_document_key(key: str) -> bool:
    """Whether `key` names a small document, `_mediastore/…`."""
    return len(key) <= DOCUMENT_KEY_MAX_LENGTH and _DOCUMENT.fullmatch(key) is not None
