"""The deliveries of this process, from the application's start to its end."""

from collections.abc import AsyncIterator

from aiohttp import web

from mediastore.app_keys import CATALOG, CLOCK, METRICS, SETTINGS
from mediastore.events.delivery import Delivery
from mediastore.hooks.posting import open_poster
from mediastore.lasting import lasting


def add_delivery(app: web.Application) -> None:
    """Deliver events; call it after the context that opens the catalog was added."""
    app.cleanup_ctx.append(_delivery)


async def _delivery(app: web.Application) -> AsyncIterator[None]:
    settings, clock = app[SETTINGS].events, app[CLOCK]
    async with open_poster(clock) as poster:
        delivery = Delivery(app[CATALOG], poster, settings, clock, app[METRICS])
        work = [delivery.measure, *([delivery.run] if settings.deliver else [])]
        async with lasting(clock, *work):
            yield
        await delivery.close()
