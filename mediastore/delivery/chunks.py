"""Verified chunks for readers: from the cache, from a fetch that is under way, or from the store.

However many readers ask for a chunk at once, it is fetched once (single flight), and a reader that
goes away takes nothing from the others. Every byte here is counted once: by the cache while it is
there, otherwise by the memory budget. A chunk that the cache has no room for and whose readers are
slow is written to an unlinked file, all its readers go on from there, and its memory is given back:
after `spool_after_seconds`, or as soon as somebody waits for memory.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import structlog

from mediastore.catalog.reading import ChunkPlace
from mediastore.clock import Clock
from mediastore.delivery.cache import ChunkCache
from mediastore.delivery.held import HeldChunk
from mediastore.delivery.spool import Spool
from mediastore.errors import Overloaded, StorageFull
from mediastore.memory import MemoryBudget, Reservation
from mediastore.settings import MemorySettings
from mediastore.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

Arrived = Callable[[], None]
Fetch = Callable[[ChunkPlace, Arrived], Awaitable[bytes]]
"""Tells that all of a chunk has come, before it is verified: where it came from is idle again."""
SPOOL_RETRY_SECONDS_MIN = 1.0
STARVED_SPOOL_SECONDS = 0.25  # a quick reader is done with a chunk before that


class Standing(Enum):
    """How near a chunk is: in memory, in a fetch that somebody else has begun, or in the store."""

    AT_HAND = "at hand"
    UNDER_WAY = "under way"
    AWAY = "away"


class _Flight:
    """A fetch under way, how many wait for it, and who is to be told when all of it has come."""

    __slots__ = ("task", "waiters", "watchers")

    def __init__(self) -> None:
        self.waiters = 0
        self.watchers: list[Arrived] = []
        self.task: asyncio.Task[HeldChunk | None]

    def arrived(self) -> None:
        while self.watchers:
            self.watchers.pop()()


class Chunks:
    """All chunks that this process reads."""

    def __init__(
        self,
        fetch: Fetch,
        cache: ChunkCache,
        spool: Spool,
        memory: MemoryBudget,
        settings: MemorySettings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._fetch = fetch
        self._cache = cache
        self._spool = spool
        self._memory = memory
        self._wait_max_seconds = settings.wait_max_seconds
        self._spool_after_seconds = settings.spool_after_seconds
        self._clock = clock
        self._metrics = metrics
        self._flights: dict[bytes, _Flight] = {}
        self._loose: dict[bytes, HeldChunk] = {}
        self._keepers: set[asyncio.Task[None]] = set()

    def peek(self, hash_: bytes) -> bytes | None:
        """The chunk if the cache has it, for a caller that copies it before it awaits anything."""
        data = self._cache.peek(hash_)
        if data is not None:
            self._metrics.chunk_cache_hits.inc()
        return data

    def standing(self, hash_: bytes) -> "Standing":
        """Where this chunk would come from now."""
        if hash_ in self._cache or hash_ in self._loose:
            return Standing.AT_HAND
        return Standing.UNDER_WAY if hash_ in self._flights else Standing.AWAY

    def at_hand(self, hash_: bytes) -> bool:
        """Whether a fetch would gain nothing."""
        return self.standing(hash_) is not Standing.AWAY

    def take_at_hand(self, hash_: bytes) -> HeldChunk | None:
        """Hold a chunk that is in memory; the caller releases it."""
        held = self._loose.get(hash_)
        if held is not None:
            held.readers += 1
        elif (data := self._cache.pin(hash_)) is not None:
            held = HeldChunk(self._released, hash_, data, None)
        else:
            return None
        self._metrics.chunk_cache_hits.inc()
        return held

    async def take(
        self, place: ChunkPlace, *, ahead: bool = False, arrived: Arrived | None = None
    ) -> HeldChunk:
        """Hold a chunk; the caller releases it. `ahead` does not wait for memory. `arrived` is
        called when all of it has come, unless that was before or it failed.

        Raises Overloaded, ContentDamaged, ContentMissing, ChunkStoreUnavailable.
        """
        held = self.take_at_hand(place.hash)
        if held is not None:
            return held
        self._metrics.chunk_cache_misses.inc()
        flight = self._flights.get(place.hash) or self._take_off(place, ahead=ahead)
        if arrived is not None:
            flight.watchers.append(arrived)
        flight.waiters += 1
        try:
            landed = await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            self._leave(flight)
            raise
        if landed is None:
            raise RuntimeError("a flight with a waiter lands with a chunk")
        return landed

    async def close(self) -> None:
        """Stop what is under way; to be called when no reader is left."""
        tasks: list[asyncio.Task[Any]] = [flight.task for flight in self._flights.values()]
        tasks += self._keepers
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take_off(self, place: ChunkPlace, *, ahead: bool) -> _Flight:
        reservation = Reservation(self._memory, self._wait_max_seconds)
        if ahead and not reservation.try_grow(place.size):
            raise Overloaded("no memory to read ahead")
        flight = self._flights[place.hash] = _Flight()
        flight.task = asyncio.create_task(self._fly(flight, place, reservation))
        flight.task.add_done_callback(_retrieve)
        return flight

    async def _fly(
        self, flight: _Flight, place: ChunkPlace, reservation: Reservation
    ) -> HeldChunk | None:
        try:
            if not reservation.held_bytes:
                await reservation.grow(place.size)
            # More may be pinned than the cache allows: then the chunk is there, but not for
            # pinning.
            data = self._cache.take_out(place.hash) or await self._fetch(place, flight.arrived)
        except BaseException:
            reservation.close()
            raise
        finally:
            del self._flights[place.hash]
        return self._land(place.hash, data, flight.waiters, reservation)

    def _land(
        self, hash_: bytes, data: bytes, readers: int, reservation: Reservation
    ) -> HeldChunk | None:
        if hash_ not in self._cache and self._cache.admit(hash_, data, readers=readers):
            reservation.close()
            if not readers:
                return None
            # One object for all of them; the cache counts them one by one.
            held = HeldChunk(self._released, hash_, data, None)
        elif readers:
            held = self._loose[hash_] = HeldChunk(self._released, hash_, data, reservation)
            held.keeper = asyncio.create_task(self._keep(held, reservation))
            self._keepers.add(held.keeper)
            held.keeper.add_done_callback(self._keepers.discard)
        else:
            reservation.close()
            return None
        held.readers = readers
        return held

    def _leave(self, flight: _Flight) -> None:
        task = flight.task
        if not task.done():
            flight.waiters -= 1
        elif not task.cancelled() and task.exception() is None and (held := task.result()):
            held.release()

    def _released(self, held: HeldChunk) -> None:
        if held.cached is not None:
            self._cache.unpin(held.hash)
            return
        if held.readers:
            return
        if self._loose.get(held.hash) is held:
            del self._loose[held.hash]
        if not held.spooling:  # else its keeper lets go when the file is written
            self._let_go(held)

    def _let_go(self, held: HeldChunk) -> None:
        """Nobody reads this loose chunk any more; the cache may have it now."""
        if held.keeper is not None:
            held.keeper.cancel()
        data = held.data
        held.give_back()
        held.close_file()
        if data is not None and not self.at_hand(held.hash):
            self._cache.admit(held.hash, data, readers=0)

    async def _keep(self, held: HeldChunk, reservation: Reservation) -> None:
        """Move a loose chunk to a spool file when its readers are slow."""
        await self._due(reservation)
        while held.data is not None:
            held.spooling = True
            try:
                file = await self._spool.write(held.data)
            except (OSError, StorageFull) as error:
                log.warning("spool_failed", detail=str(error))
            else:
                held.move_to(file)
                self._loose.pop(held.hash, None)
            finally:
                held.spooling = False
            if not held.readers:
                held.keeper = None
                self._let_go(held)
            elif held.data is not None:
                await self._clock.sleep(max(self._spool_after_seconds, SPOOL_RETRY_SECONDS_MIN))

    async def _due(self, reservation: Reservation) -> None:
        """Return when readers have had their time, or somebody waits for memory."""
        seconds = self._spool_after_seconds
        if reservation.starved:
            seconds = min(seconds, STARVED_SPOOL_SECONDS)
        due = asyncio.Event()
        with reservation.sheddable(due.set):
            try:
                async with asyncio.timeout(seconds):
                    await due.wait()
            except TimeoutError:
                return


def _retrieve(task: asyncio.Task[HeldChunk | None]) -> None:
    """A fetch whose readers have all gone may fail without anybody to tell."""
    if not task.cancelled():
        task.exception()
