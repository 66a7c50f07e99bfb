"""What a receipt says of an erasure: what, when, hashes and counts, and what it does not cover."""

from contextlib import aclosing
from datetime import timedelta
from typing import Any
from uuid import UUID

from blake3 import blake3

from mediastore.catalog.collection import collector_state
from mediastore.catalog.erasing import (
    ErasedItem,
    Erasure,
    ErasureStanding,
    erased_items,
    erasure_standing,
    get_erasure,
)
from mediastore.catalog.pool import Catalog
from mediastore.settings import CollectionSettings
from mediastore_gc.erasure_records import record_key
from mediastore_gc.rendering import as_json

FORMAT = "mediastore erasure receipt 1"
# More are counted and hashed, not named: a receipt is read into memory.
ITEMS_NAMED_MAX = 100_000

RESTORES = (
    "Restoring the database to a moment before this erasure does not bring this back: its bytes "
    "went before the recovery window was over, and the store's record has it erased again."
)
UNFINISHED = "Not complete: ask for another receipt when the keys that wait have been deleted."
SHARED = (
    "Chunks that others have as well stay, as part of what is theirs; a chunk that somebody else "
    "had deleted within the recovery window waits until that is over."
)
EARLIER = (
    "Uploads of this owner or tenant that had ended before without becoming objects are not in "
    "here: nothing leads to them any more, and their bytes go when the recovery window is over."
)


async def make_statement(
    catalog: Catalog, settings: CollectionSettings, id_: UUID
) -> dict[str, Any]:
    """How far an erasure is, in full. Raises NotFound."""
    erasure = await get_erasure(catalog, id_)
    standing = await erasure_standing(catalog, id_)
    items, digest = await _items(catalog, id_)
    issued_at = (await collector_state(catalog)).now
    statement = {
        "format": FORMAT,
        "erasure": erasure.id,
        "tenant": erasure.tenant,
        "owner": erasure.owner,
        "object": erasure.object,
        "why": erasure.why,
        "complete": erasure.finished_at is not None,
        "asked_at": erasure.asked_at,
        "removed_at": erasure.removed_at,
        "finished_at": erasure.finished_at,
        "issued_at": issued_at,
        "objects": standing.objects,
        "uploads": standing.uploads,
        "content_bytes": standing.bytes,
        **_keys(erasure, standing, settings.window_seconds),
        "items": [_named(item) for item in items],
        "items_all_named": standing.objects + standing.uploads == len(items),
        "items_blake3": digest,
        "record_in_store": record_key(id_),
        "notes": _notes(erasure),
    }
    named: dict[str, Any] = as_json(statement)
    return named


def _keys(erasure: Erasure, standing: ErasureStanding, window_seconds: int) -> dict[str, Any]:
    waiting = standing.waiting_keys + standing.window_keys
    waiting_bytes = standing.waiting_bytes + standing.window_bytes
    newest = standing.window_newest
    return {
        "deleted_keys": erasure.keys - waiting,
        "deleted_bytes": erasure.key_bytes - waiting_bytes,
        "waiting_keys": standing.waiting_keys,
        "waiting_bytes": standing.waiting_bytes,
        "window_keys": standing.window_keys,
        "window_bytes": standing.window_bytes,
        "window_ends_at": None if newest is None else newest + timedelta(seconds=window_seconds),
        "shared_chunks": standing.shared_chunks,
        "shared_bytes": standing.shared_bytes,
    }


def _notes(erasure: Erasure) -> list[str]:
    notes = [RESTORES, SHARED]
    if erasure.object is None:
        notes.append(EARLIER)
    if erasure.finished_at is None:
        notes.append(UNFINISHED)
    return notes


def _named(item: ErasedItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "kind": item.kind,
        "blake3": item.blob,
        "size": item.size,
        "shared": item.shared,
    }


async def _items(catalog: Catalog, id_: UUID) -> tuple[list[ErasedItem], str]:
    """The first ITEMS_NAMED_MAX, and the BLAKE3 of a line for each of all: id, kind, hash, size."""
    named: list[ErasedItem] = []
    digest = blake3()
    async with aclosing(erased_items(catalog, id_)) as pages:
        async for page in pages:
            for item in page:
                blob = "-" if item.blob is None else item.blob.hex()
                digest.update(f"{item.id} {item.kind} {blob} {item.size}\n".encode())
            named += page[: ITEMS_NAMED_MAX - len(named)]
    return named, digest.hexdigest()
