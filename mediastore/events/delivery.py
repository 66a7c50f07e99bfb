"""Delivers events to tenants' webhooks, at least once each, in no promised order.

A loop claims what is due in one short transaction and gives each event to a task of its own; the
task sends it with no transaction open and ends the claim in another. How many are under way is
bounded for the process and for each tenant, so an endpoint that is slow or down holds up nobody
else. A process that dies leaves claims that come back by themselves.
"""

import asyncio
from collections import Counter
from typing import Any

import structlog

from mediastore.backoff import backoff_seconds
from mediastore.catalog.events import (
    Backlog,
    ClaimedEvent,
    claim_events,
    event_delivered,
    events_backlog,
    park_event,
    put_event_off,
)
from mediastore.catalog.pool import Catalog
from mediastore.clock import Clock
from mediastore.errors import MediastoreError
from mediastore.hooks.posting import NoAnswer, Poster
from mediastore.settings import EventsSettings
from mediastore.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

GONE_STATUS = 410  # Standard Webhooks: the receiver wants no more of these
BACKLOG_SECONDS = 15.0


class Delivery:
    """The deliveries of this process."""

    def __init__(
        self,
        catalog: Catalog,
        poster: Poster,
        settings: EventsSettings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._catalog = catalog
        self._poster = poster
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._ended = asyncio.Event()
        self._backlog = Backlog()
        metrics.watch_events(self._measured)

    async def run(self) -> None:
        """For ever: claim and deliver; until cancelled."""
        while True:
            self._ended.clear()
            claimed = 0
            try:
                claimed = await self._claim()
            except MediastoreError as error:
                log.warning("events_not_claimed", code=error.code, detail=error.detail)
            if claimed == 0 or len(self._under_way) >= self._settings.concurrency_max:
                await self._pause(self._settings.poll_seconds)

    async def measure(self) -> None:
        """For ever: look at what waits, for the metrics."""
        while True:
            try:
                self._backlog = await events_backlog(self._catalog)
            except MediastoreError as error:
                log.warning("events_not_counted", code=error.code, detail=error.detail)
            await self._clock.sleep(BACKLOG_SECONDS)

    async def close(self) -> None:
        """End what is under way; its claims come back."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _claim(self) -> int:
        room = self._settings.concurrency_max - len(self._under_way)
        if room <= 0:
            return 0
        events = await claim_events(
            self._catalog,
            limit=room,
            each=self._settings.tenant_concurrency_max,
            under_way=Counter(self._under_way.values()),
            claim_seconds=self._settings.claim_timeout_seconds,
        )
        for event in events:
            task = asyncio.create_task(self._deliver(event))
            self._under_way[task] = event.tenant
            task.add_done_callback(self._done)
        return len(events)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._ended.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("event_delivery_crashed", error=repr(error))

    async def _pause(self, seconds: float) -> None:
        """Until time is over, or something under way has ended: its tenant may have more."""
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait((sleeping, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            ended.cancel()

    async def _deliver(self, event: ClaimedEvent) -> None:
        try:
            problem, wait_seconds = await self._send(event)
            if problem is None:
                self._metrics.events_delivered.inc()
                await event_delivered(self._catalog, event)
            elif wait_seconds is None or event.attempts >= self._settings.attempts_max:
                self._metrics.events_parked.inc()
                log.error("event_parked", event_key=str(event.key), kind=event.kind, why=problem)
                await park_event(self._catalog, event, why=problem)
            else:
                self._metrics.events_failed.inc()
                seconds = max(wait_seconds, retry_seconds(self._settings, event.attempts))
                await put_event_off(self._catalog, event, seconds=seconds, why=problem)
        except MediastoreError as error:  # the claim comes back
            log.warning("event_claim_not_ended", event_key=str(event.key), detail=error.detail)

    async def _send(self, event: ClaimedEvent) -> tuple[str | None, float | None]:
        """What went wrong, None if nothing did; and how long the receiver wants to be left alone,
        None for ever.
        """
        try:
            answer = await self._poster.post(
                event.url,
                event.secrets,
                str(event.key),
                message(event),
                timeout_seconds=self._settings.timeout_seconds,
            )
        except NoAnswer as error:
            return str(error), 0
        if 200 <= answer.status < 300:
            return None, 0
        problem = f"the receiver answered {answer.status}"
        if answer.status == GONE_STATUS:
            return problem, None
        asked = answer.retry_after_seconds or 0
        return problem, min(asked, self._settings.retry_delay_max_seconds)

    def _measured(self) -> tuple[float, float, float]:
        backlog = self._backlog
        return backlog.waiting, backlog.parked, backlog.oldest_waiting_seconds


def message(event: ClaimedEvent) -> dict[str, Any]:
    """The same at every attempt: receivers may compare."""
    return {
        "type": event.kind,
        "timestamp": event.created_at.isoformat().replace("+00:00", "Z"),
        "data": {"tenant": event.tenant, **event.payload},
    }


def retry_seconds(settings: EventsSettings, attempts: int) -> float:
    """The pause after so many attempts to tell a receiver."""
    return backoff_seconds(
        attempts,
        first_seconds=settings.retry_delay_seconds,
        longest_seconds=settings.retry_delay_max_seconds,
    )
