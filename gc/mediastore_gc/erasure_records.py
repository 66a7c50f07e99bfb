"""What was erased, as the chunk store remembers it: a small document for each erasure.

It is there before anything goes, outside of the chunks' prefix, so that a database that is restored
to a moment before the erasure learns of it and erases again (INV-6). It names tenant, owner or
object as the operator did, and nothing of what was stored.
"""

import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mediastore.catalog.erasing import Erasure, Scope
from mediastore.chunkstore.keys import ERASURES_PREFIX
from mediastore.chunkstore.protocol import ChunkStore, ConditionFailed
from mediastore.errors import ChunkStoreUnavailable, InvariantBroken

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """One document."""

    id: UUID
    scope: Scope
    why: str
    asked_at: datetime

    @property
    def key(self) -> str:
        return record_key(self.id)

    @property
    def body(self) -> bytes:
        scope = self.scope
        return json.dumps(
            {
                "format": FORMAT,
                "erasure": str(self.id),
                "tenant": scope.tenant,
                "owner": scope.owner,
                "object": None if scope.object is None else str(scope.object),
                "why": self.why,
                "asked_at": self.asked_at.isoformat(),
            }
        ).encode()


def record_key(id_: UUID) -> str:
    return f"{ERASURES_PREFIX}{id_}"


def record_of(erasure: Erasure) -> ErasureRecord:
    return ErasureRecord(erasure.id, erasure.scope, erasure.why, erasure.asked_at)


def parse_record(body: bytes) -> ErasureRecord:
    """Raises ValueError when it makes no sense."""
    try:
        read = json.loads(body)
        if read["format"] != FORMAT:
            raise ValueError(f"format {read['format']} is not known")
        object_ = None if read["object"] is None else UUID(read["object"])
        texts = (read["tenant"], read["owner"] or "", read["why"])
        asked_at = datetime.fromisoformat(read["asked_at"])
        if not all(isinstance(text, str) for text in texts) or asked_at.tzinfo is None:
            raise ValueError("a member is not what it must be")
        scope = Scope(read["tenant"], read["owner"], object_)
        return ErasureRecord(UUID(read["erasure"]), scope, read["why"], asked_at)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks something: {error}") from error


async def write_record(store: ChunkStore, record: ErasureRecord) -> None:
    """Leave it in the store, once. Raises InvariantBroken when another is there under its id."""
    try:
        await store.put_if(record.key, record.body, version=None)
    except ConditionFailed:
        # It may have been ours, its answer lost.
        if (await store.get_versioned(record.key)).body != record.body:
            raise InvariantBroken(f"{record.key} tells of another erasure") from None


async def record_pages(store: ChunkStore) -> AsyncGenerator[dict[str, UUID | None], None]:
    """Every document's key and whose it is, a page of the listing at a time; None: no erasure's."""
    async for page in store.list(prefix=ERASURES_PREFIX):
        yield {entry.key: _id_of(entry.key) for entry in page}


async def read_record(store: ChunkStore, key: str) -> ErasureRecord | None:
    """What a document says; None: it makes no sense."""
    try:
        record = parse_record((await store.get_versioned(key)).body)
    except ValueError:
        return None
    return record if record.key == key else None


def _id_of(key: str) -> UUID | None:
    with contextlib.suppress(ValueError):
        id_ = UUID(key.removeprefix(ERASURES_PREFIX))
        return id_ if record_key(id_) == key else None
    return None


async def delete_records(store: ChunkStore, ids: list[UUID]) -> None:
    """Raises ChunkStoreUnavailable when one is still there."""
    results = await store.delete_many([record_key(id_) for id_ in ids])
    kept = [result for result in results if not result.deleted]
    if kept:
        raise ChunkStoreUnavailable(f"{len(kept)} records of erasures were not deleted")
