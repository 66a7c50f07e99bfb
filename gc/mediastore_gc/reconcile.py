"""After a restore: check every chunk row against the store, then begin a new incarnation.

The store's sorted listing is merged with the rows in key order, in constant memory; what the
listing lacks is asked for by itself before it is marked. Nothing is deleted, and no generation
changes: a marked chunk is healed by the next upload of its bytes. The marker is written before the
database, so a crash between the two leaves collectors refusing until this is run again (INV-5).
"""

import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

from mediastore.catalog.collection import collector_state
from mediastore.catalog.pool import Catalog
from mediastore.catalog.reconcile import (
    ChunkCopy,
    install_incarnation,
    mark_missing,
    stored_chunk_pages,
)
from mediastore.chunkstore.keys import COLLECTOR_MARKER, PREFIX, chunk_key
from mediastore.chunkstore.protocol import ChunkStore, ConditionFailed, MissingKey
from mediastore.collector_errors import CollectorRefused
from mediastore.errors import InvariantBroken
from mediastore_gc.marker import Marker, read_marker

PAGE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Rows that were checked, and those whose bytes are missing or of another length."""

    checked: int
    missing: int
    missing_bytes: int
    applied: bool


async def reconcile(catalog: Catalog, store: ChunkStore, *, apply: bool) -> Reconciled:
    """Check every stored row; with `apply`, mark what is missing and begin a new incarnation.

    Raises InvariantBroken when the listing is out of order, CollectorRefused when another does the
    same at once.
    """
    marker = await read_marker(store)
    state = await collector_state(catalog)
    checked = missing = missing_bytes = 0
    async with aclosing(_listed(store)) as listed, aclosing(_rows(catalog)) as rows:
        entry = await anext(listed, None)
        async for copy in rows:
            key = chunk_key(copy.hash, copy.generation)
            checked += 1
            while entry is not None and entry[0] < key:
                entry = await anext(listed, None)
            if entry == (key, copy.size) or await _is_there(store, key, copy.size):
                continue
            missing += 1
            missing_bytes += copy.size
            if apply:
                await mark_missing(catalog, copy)
    if apply:
        counter = max(state.batch_counter, 0 if marker is None else marker.counter)
        wanted = Marker(uuid4(), counter, None if marker is None else marker.version)
        try:
            await store.put_if(COLLECTOR_MARKER, wanted.body, version=wanted.version)
        except ConditionFailed:
            raise CollectorRefused(
                "the marker changed meanwhile: stop every collector, then reconcile again"
            ) from None
        if not await install_incarnation(
            catalog, wanted.incarnation, counter=counter, instead_of=state.incarnation
        ):
            raise CollectorRefused("another incarnation was installed meanwhile; reconcile again")
    return Reconciled(checked, missing, missing_bytes, apply)


async def _rows(catalog: Catalog) -> AsyncGenerator[ChunkCopy, None]:
    async with aclosing(stored_chunk_pages(catalog, PAGE_ROWS)) as pages:
        async for page in pages:
            for copy in page:
                yield copy


async def _listed(store: ChunkStore) -> AsyncGenerator[tuple[str, int], None]:
    """Keys with their sizes, in order."""
    before = ""
    async for page in store.list(prefix=PREFIX):
        for entry in page:
            if entry.key <= before:
                raise InvariantBroken(f"the store lists {entry.key} behind {before}")
            before = entry.key
            yield entry.key, entry.size


async def _is_there(store: ChunkStore, key: str, size: int) -> bool:
    """Asked by itself: the row may be younger than the page of the listing."""
    with contextlib.suppress(MissingKey):
        return (await store.head(key)).size == size
    return False
