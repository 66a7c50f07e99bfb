"""Erases at once what the law wants gone: past every delay, never past a recount (INV-6, INV-7).

Asked for and counted up in the database, recorded in the store, the marker raised; only then rows
go. When their references have been released, keys are marked to go before their window; the next
recount clears them, and they are claimed and deleted like any others. Every step may be repeated: a
crash between any two of them leaves an erasure that the next run goes on with.
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

import structlog

from mediastore.catalog import erasing as rows
from mediastore.catalog.collection import collector_state, lock_collector
from mediastore.catalog.erasing import Erasure, Scope
from mediastore.catalog.marker import checked_marker
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.protocol import DELETE_KEYS_MAX, ChunkStore
from mediastore.clock import Clock
from mediastore_gc.erasure_records import (
    ErasureRecord,
    delete_records,
    read_record,
    record_of,
    record_pages,
    write_record,
)
from mediastore_gc.marker import raise_marker
from mediastore_gc.progress import Progress

log = structlog.get_logger(__name__)

# Looked at for each batch; the oldest come first and are soon done.
UNFINISHED_MAX = 100

TRANSACTIONS_WAIT_SECONDS = 30.0
PAUSE_MAX_SECONDS = 2.0


class Eraser:
    """Takes erasures on, batch by batch. Behind every guard that its caller has."""

    def __init__(self, catalog: Catalog, store: ChunkStore) -> None:
        self._catalog = catalog
        self._store = store
        self._after: dict[UUID, UUID] = {}

    async def remove_some(self) -> int:
        """A batch of what is to be erased leaves the database; how many objects and uploads. 0:
        there is nothing to remove (now).
        """
        for erasure in await rows.erasures_to_remove(self._catalog, UNFINISHED_MAX):
            done = await self.remove_some_of(erasure)
            if done:
                return done
        return 0

    async def remove_some_of(self, erasure: Erasure) -> int:
        id_ = erasure.id
        if erasure.recorded_at is None:
            await self.record(erasure)
        if await rows.erase_upload(self._catalog, id_):
            return 1
        objects, last = await rows.erase_objects(self._catalog, id_, self._after.get(id_))
        if objects:
            self._after[id_] = last
            return objects
        self._after.pop(id_, None)
        done = await rows.erase_purged(self._catalog, id_)
        # Behind the objects: what they were sources of goes when nobody else has them.
        done = done or await rows.erase_variants(self._catalog, id_)
        if done == 0 and await rows.note_removed(self._catalog, id_):
            log.info("erasure_removed", erasure=str(id_))
        return done

    async def mark_some(self) -> int:
        """A batch of keys may go before their window; how many references were looked at."""
        for id_ in await rows.erasures_to_mark(self._catalog, UNFINISHED_MAX):
            done = await rows.mark_keys(self._catalog, id_)
            if done:
                return done
        return 0

    async def record(self, erasure: Erasure) -> None:
        """Tell the store, and raise the marker to what the database has counted: one that is
        restored to a moment before this is behind it.

        Raises DatabaseRestored.
        """
        state = await collector_state(self._catalog)
        await write_record(self._store, record_of(erasure))
        await raise_marker(self._store, state.incarnation, state.batch_counter)
        await rows.note_recorded(self._catalog, erasure.id)

    async def forget_old(self, kept_seconds: int) -> int:
        """Erasures that are done go after a while, the store's records first; how many."""
        old = await rows.old_erasures(self._catalog, kept_seconds, DELETE_KEYS_MAX)
        if not old:
            return 0
        await delete_records(self._store, old)
        return await rows.forget_erasures(self._catalog, old)


async def ask_for(catalog: Catalog, store: ChunkStore, scope: Scope, why: str) -> Erasure:
    """Ask for an erasure; the one that is under way, if it means all there is.

    Raises Held, DatabaseRestored, CollectorRefused.
    """
    marker = await checked_marker(catalog, store)
    if marker.version is None:  # before anything is counted up
        await raise_marker(store, marker.incarnation, 0)
    id_ = await rows.unfinished_same(catalog, scope)
    if id_ is None:
        id_ = uuid4()
        await rows.add_erasure(catalog, id_, scope, why)
        log.info("erasure_asked_for", erasure=str(id_))
    return await rows.get_erasure(catalog, id_)


async def erase_now(
    catalog: Catalog,
    store: ChunkStore,
    clock: Clock,
    scope: Scope,
    why: str,
    *,
    skew_max_seconds: float,
    progress: Progress,
) -> Erasure:
    """Ask for an erasure, or go on with the same one, and remove everything of it from the
    database; its bytes go with the runs to come.

    It waits a while for transactions older than the request: what they make goes too. Not removed
    if that was not enough, or a hold came in between; `run` goes on with it.

    Raises Held, DatabaseRestored, CollectorPaused, ClockSkew, CollectorRefused.
    """
    eraser = Eraser(catalog, store)
    incarnation = (await collector_state(catalog)).incarnation

    async def guard() -> None:
        await lock_collector(
            catalog, incarnation, host_time=clock.now(), skew_max_seconds=skew_max_seconds
        )

    async def removed(erasure: Erasure) -> Erasure:
        done = 1
        while erasure.removed_at is None and done:
            await guard()
            done = await eraser.remove_some_of(erasure)
            erasure = await rows.get_erasure(catalog, erasure.id)
            progress.advance(done)
        return erasure

    await guard()
    asked = await ask_for(catalog, store, scope, why)
    progress.begin("erasing", "objects")
    erasure = await removed(asked)
    if erasure.removed_at is None and await _older_transactions_end(catalog, clock, asked.id):
        erasure = await removed(erasure)
    return erasure


async def _older_transactions_end(catalog: Catalog, clock: Clock, id_: UUID) -> bool:
    """Waits a while for transactions that were open when it was asked for, as a busy service always
    has some; whether all have ended.
    """
    pause_seconds = 0.05
    until = clock.monotonic() + TRANSACTIONS_WAIT_SECONDS
    while waits := await rows.waits_for_transactions(catalog, id_):
        if clock.monotonic() >= until:
            break
        await clock.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, PAUSE_MAX_SECONDS)
    return not waits


@dataclass(frozen=True, slots=True)
class TakenUp:
    """Erasures of the store's records that this database does not know, and records that make no
    sense.
    """

    erasures: tuple[UUID, ...]
    bad_records: tuple[str, ...]


async def take_up_again(catalog: Catalog, store: ChunkStore, *, apply: bool) -> TakenUp:
    """After a restore: what had been erased is to be erased again. A page of the store's records
    at a time, of which only those are read that this database does not know.
    """
    unknown: list[UUID] = []
    bad: list[str] = []
    async for page in record_pages(store):
        ids = [id_ for id_ in page.values() if id_ is not None]
        known = await rows.known_erasures(catalog, ids)
        for key in (key for key, id_ in page.items() if id_ not in known):
            record = await read_record(store, key)
            if record is None:
                bad.append(key)
                continue
            unknown.append(record.id)
            if apply:
                await _take_up(catalog, record)
    return TakenUp(tuple(unknown), tuple(bad))


async def _take_up(catalog: Catalog, record: ErasureRecord) -> None:
    await rows.add_erasure(catalog, record.id, record.scope, record.why, asked_at=record.asked_at)
    await rows.note_recorded(catalog, record.id)
