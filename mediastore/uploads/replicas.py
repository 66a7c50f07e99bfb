"""Takeover between replicas: what this one tells the others, and what it does when told.

Who takes an upload that another live replica's request is writing to has that replica told, which
ends the request at once. A client that asks for its offset first lets the older request store what
it has received, for `uploads.hand_over_wait_seconds` at most and only if somebody will answer: for
a replica that has died nobody waits. The waiting is a courtesy to the client; what keeps the bytes
right is the epoch (INV-8).
"""

import asyncio
from contextlib import suppress
from uuid import UUID

import structlog

from mediastore.catalog.listener import Listener
from mediastore.catalog.pool import Catalog
from mediastore.catalog.taking import (
    Taken,
    new_replica_id,
    replica_channel,
    take_upload,
    tell_replica,
)
from mediastore.catalog.uploads import new_epoch
from mediastore.clock import Clock
from mediastore.errors import MediastoreError
from mediastore.settings import Settings
from mediastore.uploads.bodies import Bodies

log = structlog.get_logger(__name__)


class Replicas:
    """This replica among the others."""

    def __init__(self, catalog: Catalog, settings: Settings, clock: Clock, bodies: Bodies) -> None:
        self.id = new_replica_id()
        self._catalog = catalog
        self._wait_seconds = settings.uploads.hand_over_wait_seconds
        self._bodies = bodies
        self._listening = False
        self._asked: dict[int, asyncio.Event] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._listener = Listener(
            settings.catalog,
            clock,
            replica_channel(self.id),
            presence=self.id,
            on_notify=self.notified,
            on_listening=self._heard,
            on_lost=self._lost,
        )

    @property
    def listening(self) -> bool:
        """Can the others reach this replica?"""
        return self._listening

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            await self._listener.run()
        finally:
            for answer in self._answering:
                answer.cancel()

    async def take(
        self, tenant: str, id_: UUID, expected_offset: int | None, *, writes: bool
    ) -> Taken | None:
        """Take an upload for a request of this replica; see `take_upload`.

        One round trip, except for a client that asks for its offset while another replica's
        request is writing.
        """
        epoch = new_epoch()
        if expected_offset is not None or not self._listening or self._wait_seconds == 0:
            return await self._take(tenant, id_, epoch, expected_offset, writes=writes)
        self._asked[epoch] = settled = asyncio.Event()
        try:
            taken = await self._take(tenant, id_, epoch, None, writes=writes, patient=True)
            if taken is None or not taken.asked:
                return taken
            await self.wait(settled)
        finally:
            del self._asked[epoch]
        return await self._take(tenant, id_, epoch, None, writes=writes)

    async def wait(self, settled: asyncio.Event) -> bool:
        """Wait, for as long as a newcomer is kept waiting at most, until an older request has
        stored what it holds. Has it?
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_seconds):
                await settled.wait()
        return settled.is_set()

    def notified(self, payload: str) -> None:
        """A notification; one of a kind that this version does not know changes nothing."""
        kind, *numbers = payload.split(" ")
        if not all(number.isdecimal() for number in numbers):
            numbers = []
        match kind, [int(number) for number in numbers]:
            case "taken", [epoch]:
                self._bodies.end_of_epoch(epoch)
            case "ask", [epoch, asker, its_epoch]:
                self._answer(epoch, asker, its_epoch)
            case "settled", [epoch]:
                if (settled := self._asked.get(epoch)) is not None:
                    settled.set()
            case _:
                log.warning("notification_unknown", payload=payload[:100])

    async def _take(
        self,
        tenant: str,
        id_: UUID,
        epoch: int,
        expected_offset: int | None,
        *,
        writes: bool,
        patient: bool = False,
    ) -> Taken | None:
        return await take_upload(
            self._catalog,
            tenant,
            id_,
            expected_offset=expected_offset,
            epoch=epoch,
            replica=self.id,
            writes=writes,
            patient=patient,
        )

    def _answer(self, epoch: int, asker: int, its_epoch: int) -> None:
        """End the request of `epoch` now; tell the asker when it has stored what it held."""
        body = self._bodies.end_of_epoch(epoch)

        async def answer() -> None:
            if body is not None and not await self.wait(body.settled):
                return  # the asker has not waited longer either
            try:
                await tell_replica(self._catalog, asker, f"settled {its_epoch}")
            except MediastoreError as error:
                log.warning("replica_not_told", detail=error.detail)

        task = asyncio.create_task(answer())
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def _heard(self) -> None:
        self._listening = True

    def _lost(self) -> None:
        self._listening = False
