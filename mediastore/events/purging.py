"""Sends purges to the CDNs that the settings name, at least once each and in no promised order.

Each CDN has a loop of its own, so that one that is down or slow holds up no other. One round claims
what a single call can say and makes that call; the catalog lets all processes together make no more
of them than `purge.requests_per_second` to a CDN, and none while it has asked to be left alone. A
process that dies leaves claims that come back by themselves.
"""

from collections.abc import Sequence

import structlog

from mediastore.catalog.pool import Catalog
from mediastore.catalog.purges import (
    ClaimedPurge,
    cdn_standings,
    claim_purges,
    purges_failed,
    purges_sent,
    want_purges,
)
from mediastore.clock import Clock
from mediastore.errors import MediastoreError
from mediastore.events.cdn.protocol import PurgeFailed, Purger
from mediastore.events.cdn.purge_metrics import PurgeMetrics
from mediastore.events.delivery import BACKLOG_SECONDS, retry_seconds
from mediastore.settings import EventsSettings, PurgeSettings

log = structlog.get_logger(__name__)

WANTED_EVERY_SECONDS = 3600.0


class Purging:
    """The purges of this process for one CDN; how often they are tried is as for events."""

    def __init__(
        self,
        catalog: Catalog,
        purger: Purger,
        settings: PurgeSettings,
        events: EventsSettings,
        clock: Clock,
        metrics: PurgeMetrics,
    ) -> None:
        self._catalog = catalog
        self._purger = purger
        self._settings = settings
        self._events = events
        self._clock = clock
        self._outcomes = metrics.outcomes[purger.name]
        self._wanted_at = float("-inf")
        self._pause_seconds = 1 / settings.requests_per_second

    async def run(self) -> None:
        """For ever: claim and send; until cancelled."""
        while True:
            claimed = 0
            try:
                claimed = await self._round()
            except MediastoreError as error:
                log.warning("purges_not_claimed", code=error.code, detail=error.detail)
            await self._clock.sleep(self._pause_seconds if claimed else self._events.poll_seconds)

    async def _round(self) -> int:
        now = self._clock.monotonic()
        if now - self._wanted_at >= WANTED_EVERY_SECONDS:
            await want_purges(self._catalog, self._purger.name)
            self._wanted_at = now
        purges = await claim_purges(
            self._catalog,
            self._purger.name,
            limit=self._purger.tags_max,
            pause_seconds=self._pause_seconds,
            claim_seconds=self._events.claim_timeout_seconds,
        )
        if purges:
            await self._send(purges, again=purges[0].again)
        return len(purges)

    async def _send(self, purges: Sequence[ClaimedPurge], *, again: bool) -> None:
        tags = list(dict.fromkeys(purge.tag for purge in purges))
        try:
            await self._purger.purge(tags, hard=again)
        except PurgeFailed as error:
            await self._failed(purges, error)
            return
        self._outcomes["sent"].inc(len(purges))
        await purges_sent(
            self._catalog, purges, again=again, again_seconds=self._settings.again_seconds
        )

    async def _failed(self, purges: Sequence[ClaimedPurge], error: PurgeFailed) -> None:
        quiet_seconds = min(error.retry_after_seconds, self._events.retry_delay_max_seconds)
        parked = await purges_failed(
            self._catalog,
            self._purger.name,
            purges,
            seconds=[
                max(retry_seconds(self._events, purge.attempts), quiet_seconds) for purge in purges
            ],
            attempts_max=self._events.attempts_max,
            quiet_seconds=quiet_seconds,
            why=str(error),
        )
        self._outcomes["failed"].inc(len(purges) - parked)
        self._outcomes["parked"].inc(parked)
        log.warning("purges_failed", cdn=self._purger.name, purges=len(purges), why=str(error))
        if parked:
            log.error("purges_parked", cdn=self._purger.name, purges=parked, why=str(error))


class PurgeWatch:
    """What waits for CDNs, for the metrics."""

    def __init__(self, catalog: Catalog, clock: Clock, metrics: PurgeMetrics) -> None:
        self._catalog = catalog
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """For ever: look; until cancelled."""
        while True:
            try:
                for standing in await cdn_standings(self._catalog):
                    self._metrics.saw(standing)
            except MediastoreError as error:
                log.warning("purges_not_counted", code=error.code, detail=error.detail)
            await self._clock.sleep(BACKLOG_SECONDS)
