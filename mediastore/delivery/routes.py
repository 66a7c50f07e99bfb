"""The URLs of content, and the resources behind them.

`/v1/objects/{id}/content` needs the tenant's key. `/media/{tenant}/{blob}/{filename}` is for the
CDN: open for tenants whose policy is public, and to the tenant's own key. What is not there and
what is not allowed get the same 404, so that knowing a hash tells nothing (INV-10).
"""

from collections.abc import AsyncIterator

from aiohttp import hdrs, web

from mediastore.app_keys import (
    AUTHENTICATOR,
    CATALOG,
    CHUNK_STORE,
    CLOCK,
    MEMORY,
    METRICS,
    SETTINGS,
)
from mediastore.catalog.listener import Listener
from mediastore.catalog.objects import DELETED_CHANNEL
from mediastore.cors import CORS
from mediastore.delivery.allowed import AllowedReads
from mediastore.delivery.cache import ChunkCache
from mediastore.delivery.chunks import Chunks
from mediastore.delivery.content import Delivery
from mediastore.delivery.fetching import VerifiedStore
from mediastore.delivery.keys import DELIVERY
from mediastore.delivery.layout import Layouts
from mediastore.delivery.reader import ReaderParts
from mediastore.delivery.sending import DateLine
from mediastore.delivery.spool import Spool
from mediastore.errors import NotFound
from mediastore.lasting import lasting


def add_routes(app: web.Application) -> None:
    """Serve content; to be called after the contexts of catalog and chunk store were added."""
    app.cleanup_ctx.append(_delivery)
    app.router.add_get("/v1/objects/{id}/content", object_content)
    app.router.add_get("/media/{tenant}/{blob}/{filename}", media)


async def object_content(request: web.Request) -> web.StreamResponse:
    """The content of a live object of the key's tenant."""
    app = request.app
    delivery = app[DELIVERY]
    tenant = await app[AUTHENTICATOR].tenant(request)
    readable = await delivery.allowed.object(tenant.id, request.match_info["id"])
    if readable is None:
        raise NotFound
    return await delivery.answer(request, readable, readable.name)


async def media(request: web.Request) -> web.StreamResponse:
    """A blob that a live object of the tenant points at."""
    app = request.app
    delivery = app[DELIVERY]
    named = request.match_info
    readable = await delivery.allowed.blob(named["tenant"], named["blob"])
    if readable is None or not readable.public:
        # Asked in any case, so that a wrong key is told the same whatever it asks for.
        if hdrs.AUTHORIZATION not in request.headers:
            raise NotFound
        tenant = await app[AUTHENTICATOR].tenant(request)
        if readable is None or tenant.id != named["tenant"]:
            raise NotFound
    return await delivery.answer(request, readable, named["filename"])


async def _delivery(app: web.Application) -> AsyncIterator[None]:
    settings, clock, catalog, metrics = app[SETTINGS], app[CLOCK], app[CATALOG], app[METRICS]
    store = VerifiedStore(app[CHUNK_STORE], catalog, clock, metrics)
    cache = ChunkCache(settings.memory.chunk_cache_bytes)
    spool = Spool(settings.memory.spool_directory)
    chunks = Chunks(store.get, cache, spool, app[MEMORY], settings.memory, clock, metrics)
    allowed = AllowedReads(catalog, clock, settings.delivery)
    app[DELIVERY] = Delivery(
        allowed=allowed,
        parts=ReaderParts(Layouts(catalog), chunks, store, settings.delivery.read_ahead_chunks),
        clock=clock,
        metrics=metrics,
        date=DateLine(clock),
        cors=app.get(CORS),
        send_idle_timeout_seconds=settings.http.send_idle_timeout_seconds,
    )
    metrics.watch_chunk_cache(lambda: cache.held_bytes)
    listener = Listener(
        settings.catalog,
        clock,
        DELETED_CHANNEL,
        on_notify=allowed.notified,
        on_listening=allowed.listening,
        on_lost=allowed.lost,
    )
    async with lasting(clock, listener.run):
        yield
    await chunks.close()
    spool.close()
