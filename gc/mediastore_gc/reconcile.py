"""After a restore: check every chunk row against the store, then begin a new incarnation.

The marker is given the new incarnation before anything is checked: a worker of the old life that
has not begun to delete then stops at the marker, and a crash on the way leaves collectors refusing
until this is run again (INV-5). Nothing is deleted, and no generation changes: a marked chunk is
healed by the next upload of its bytes (INV-2). What had been erased since is to be erased again, as
the store's records say. The check is the merge of orphans.py; what a read or an earlier run has
marked already is named again, so that the last report is whole.
"""

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid4

from mediastore.catalog.auditing import CopyName, HashRange, KeyRow, estimated_rows
from mediastore.catalog.collection import collector_state
from mediastore.catalog.marker import Marker, read_marker
from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import mark_damaged
from mediastore.catalog.reconcile import install_incarnation
from mediastore.chunkstore.keys import COLLECTOR_MARKER
from mediastore.chunkstore.protocol import ChunkStore, ConditionFailed
from mediastore.collector_errors import AuditStopped, CollectorRefused
from mediastore_gc.erasing import take_up_again
from mediastore_gc.hurt import Hurt, whom_it_hurts
from mediastore_gc.listing import live_pages
from mediastore_gc.orphans import KeyMerge
from mediastore_gc.progress import Progress


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Rows that were checked, those whose bytes are missing or of another length, and whom that
    hurts. `orphans` are keys that this database never knew, or has forgotten; `erasures` those that
    it does not know and that are made again, `bad_records` what the store remembers of others.
    """

    checked: int
    missing: int
    missing_bytes: int
    orphans: int
    orphan_bytes: int
    hurt: Hurt
    erasures: tuple[UUID, ...]
    bad_records: tuple[str, ...]
    applied: bool


async def reconcile(
    catalog: Catalog,
    store: ChunkStore,
    *,
    apply: bool,
    stop: asyncio.Event,
    progress: Progress,
) -> Reconciled:
    """Check every stored row; with `apply`, mark what is missing and begin a new incarnation.

    Raises InvariantBroken when the listing is out of order, CollectorRefused when another does the
    same at once, AuditStopped.
    """
    old = (await collector_state(catalog)).incarnation
    ours = await _fence(catalog, store) if apply else None
    again = await take_up_again(catalog, store, apply=apply)
    bad: set[bytes] = set()

    async def note_missing(row: KeyRow) -> None:
        bad.add(row.hash)
        if apply:
            await mark_damaged(catalog, row.hash, row.generation)

    everything = HashRange()
    progress.begin("reconcile", "keys", await estimated_rows(catalog, "chunks", "doomed"))
    merge = KeyMerge(
        catalog,
        store,
        everything,
        stop=stop,
        progress=progress,
        on_missing=note_missing,
        marked_too=True,
    )
    start = CopyName.before(everything)
    found = await merge.run(live_pages(store, everything, start), start)
    if found.stopped_behind is not None:
        raise AuditStopped("not every row was checked, so nothing may be relied on; run it again")
    hurt = await whom_it_hurts(catalog, bad)
    if ours is not None:
        held = await read_marker(store)
        if held is None or held.incarnation != ours.incarnation:
            raise CollectorRefused("another has reconciled meanwhile; reconcile again")
        if not await install_incarnation(
            catalog, ours.incarnation, counter=ours.counter, instead_of=old
        ):
            raise CollectorRefused("another incarnation was installed meanwhile; reconcile again")
    return Reconciled(
        found.stored_rows,
        found.missing,
        found.missing_bytes,
        found.orphans,
        found.orphan_bytes,
        hurt,
        again.erasures,
        again.bad_records,
        apply,
    )


async def _fence(catalog: Catalog, store: ChunkStore) -> Marker:
    """Give the marker a new incarnation, which no worker and no database has yet."""
    marker = await read_marker(store)
    state = await collector_state(catalog)
    counter = max(state.batch_counter, 0 if marker is None else marker.counter)
    wanted = Marker(uuid4(), counter, None if marker is None else marker.version)
    try:
        version = await store.put_if(COLLECTOR_MARKER, wanted.body, version=wanted.version)
    except ConditionFailed:
        raise CollectorRefused(
            "the marker changed meanwhile: stop every collector, then reconcile again"
        ) from None
    return Marker(wanted.incarnation, counter, version)
