"""The deliveries and purges of this process, from the application's start to its end."""

from collections.abc import AsyncIterator

from aiohttp import web

from mediastore.app_keys import CATALOG, CLOCK, METRICS, SETTINGS
from mediastore.events.cdn.opening import open_purgers
from mediastore.events.cdn.purge_metrics import PurgeMetrics
from mediastore.events.delivery import Delivery
from mediastore.events.purging import PurgeWatch, Purging
from mediastore.hooks.posting import open_poster
from mediastore.lasting import lasting


def add_delivery(app: web.Application) -> None:
    """Deliver events; call it after the context that opens the catalog was added."""
    app.cleanup_ctx.append(_delivery)


async def _delivery(app: web.Application) -> AsyncIterator[None]:
    settings, clock = app[SETTINGS].events, app[CLOCK]
    catalog, metrics, purge = app[CATALOG], app[METRICS], app[SETTINGS].purge
    async with open_poster(clock) as poster, open_purgers(purge, poster, clock) as purgers:
        delivery = Delivery(catalog, poster, settings, clock, metrics)
        work = [delivery.measure]
        if settings.deliver:
            work.append(delivery.run)
        if purgers:
            counts = PurgeMetrics(metrics.registry, [purger.name for purger in purgers])
            work.append(PurgeWatch(catalog, clock, counts).run)
            if settings.deliver:
                work += [
                    Purging(catalog, purger, purge, settings, clock, counts).run
                    for purger in purgers
                ]
        async with lasting(clock, *work):
            yield
        await delivery.close()
