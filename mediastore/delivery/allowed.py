"""Which tenant may read what (INV-10), believed for `allowed_cache_seconds` and not longer than a
delete takes to be told: a notification drops what it names at once, and while notifications cannot
arrive nothing is believed.

What may not be read is never remembered: the next upload may allow it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from uuid import UUID

from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import find_readable_blob, find_readable_object
from mediastore.catalog.tenants import is_tenant_id
from mediastore.clock import Clock
from mediastore.content.hashing import parse_hash
from mediastore.delivery.readable import Readable
from mediastore.settings import DeliverySettings

Key = tuple[str, str, str]
_OBJECT = "object"
_BLOB = "blob"
_PAYLOAD_PARTS = 3


class AllowedReads:
    """Answers from memory where it may, else from the catalog; one question at a time for a key."""

    def __init__(self, catalog: Catalog, clock: Clock, settings: DeliverySettings) -> None:
        self._catalog = catalog
        self._clock = clock
        self._seconds = settings.allowed_cache_seconds
        self._entries_max = settings.allowed_cache_entries_max
        self._believed: OrderedDict[Key, tuple[Readable, float]] = OrderedDict()
        self._asking: dict[Key, asyncio.Task[Readable | None]] = {}
        self._listening = False

    async def object(self, tenant: str, id_: str) -> Readable | None:
        """What the live object gives to read; None if there is none of this tenant."""
        believed = self._recall((_OBJECT, tenant, id_))
        if believed is not None:
            return believed
        try:
            uuid = UUID(id_)
        except ValueError:
            return None

        async def ask() -> Readable | None:
            found = await find_readable_object(self._catalog, tenant, uuid)
            return None if found is None else Readable.of(found)

        return await self._ask((_OBJECT, tenant, str(uuid)), ask)

    async def blob(self, tenant: str, blob: str) -> Readable | None:
        """What the blob gives to read; None unless a live object of this tenant points at it."""
        key = (_BLOB, tenant, blob)
        believed = self._recall(key)
        if believed is not None:
            return believed
        try:
            hash_ = parse_hash(blob)
        except ValueError:
            return None
        if not is_tenant_id(tenant):
            return None

        async def ask() -> Readable | None:
            found = await find_readable_blob(self._catalog, tenant, hash_)
            return None if found is None else Readable.of(found)

        return await self._ask(key, ask)

    def believed_blob(self, tenant: str, blob: str) -> Readable | None:
        """As `blob`, from memory alone: None also for what would have to be asked for."""
        return self._recall((_BLOB, tenant, blob))

    def listening(self) -> None:
        """Deletes will be told from now on; what was asked before may have missed one."""
        self._asking.clear()
        self._listening = True

    def lost(self) -> None:
        """Deletes may have been missed, and more may be: forget everything, believe nothing."""
        self._listening = False
        self._believed.clear()
        self._asking.clear()

    def notified(self, payload: str) -> None:
        """A notification: tenant, object, blob. One that cannot be read could mean anything."""
        parts = payload.split(" ")
        if len(parts) != _PAYLOAD_PARTS:
            self._believed.clear()
            self._asking.clear()
            return
        self.forget(*parts)

    def forget(self, tenant: str, id_: str, blob: str) -> None:
        """This was deleted or changed: ask again, and do not believe what is being asked now."""
        for key in ((_OBJECT, tenant, id_), (_BLOB, tenant, blob)):
            self._believed.pop(key, None)
            self._asking.pop(key, None)

    def _recall(self, key: Key) -> Readable | None:
        believed = self._believed.get(key)
        if believed is None or believed[1] <= self._clock.monotonic():
            return None
        return believed[0]

    async def _ask(
        self, key: Key, question: Callable[[], Awaitable[Readable | None]]
    ) -> Readable | None:
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._asked(key, question))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _asked(
        self, key: Key, question: Callable[[], Awaitable[Readable | None]]
    ) -> Readable | None:
        """Ask; the answer is believed only if nothing was revoked since the question was put."""
        me = asyncio.current_task()
        try:
            readable = await question()
        finally:
            current = self._asking.get(key) is me
            if current:
                del self._asking[key]
        if readable is not None and current and self._listening and self._seconds > 0:
            self._believed[key] = (readable, self._clock.monotonic() + self._seconds)
            self._believed.move_to_end(key)
            if len(self._believed) > self._entries_max:
                self._believed.popitem(last=False)
        return readable


def _retrieve(task: asyncio.Task[Readable | None]) -> None:
    """A question whose askers have all gone may fail without anybody to tell."""
    if not task.cancelled():
        task.exception()
