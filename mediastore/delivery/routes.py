"""The URLs of content, and the resources behind them.

`/v1/objects/{id}/content` needs the tenant's key. `/media/{tenant}/{blob}/{filename}` is for the
CDN: open for tenants whose policy is public, to signed links and to the tenant's own key. What is
not there and what is not allowed get the same 404, so that knowing a hash tells nothing (INV-10).
"""

from collections.abc import AsyncIterator

from aiohttp import web

from mediastore.access.signed_links import SignedLinks
from mediastore.app_keys import (
    AUTHENTICATOR,
    CATALOG,
    CHUNK_STORE,
    CLOCK,
    MEMORY,
    METRICS,
    OBSERVER,
    SETTINGS,
)
from mediastore.catalog.listener import Listener
from mediastore.catalog.objects import DELETED_CHANNEL
from mediastore.delivery.allowed import AllowedReads
from mediastore.delivery.cache import ChunkCache
from mediastore.delivery.chunks import Chunks
from mediastore.delivery.content import Delivery
from mediastore.delivery.disk_cache import DiskCache, DiskCacheMetrics
from mediastore.delivery.disk_folder import DiskFolder
from mediastore.delivery.fetching import VerifiedStore
from mediastore.delivery.granting import BY_OBJECT, Granting
from mediastore.delivery.headers import HeaderRenderer
from mediastore.delivery.keys import DELIVERY, GRANTING, WARM_READS
from mediastore.delivery.layout import Layouts
from mediastore.delivery.reader import ReaderParts
from mediastore.delivery.sending import DateLine
from mediastore.delivery.spool import Spool
from mediastore.delivery.warm import WarmReads
from mediastore.errors import BadSettings, NotFound
from mediastore.lasting import lasting
from mediastore.tenant_cors import TENANT_CORS

MEDIA_ROUTE = "/media/{tenant}/{blob}/{filename}"


def add_routes(app: web.Application) -> None:
    """Serve content; to be called after the contexts of catalog and chunk store were added."""
    app.cleanup_ctx.append(_delivery)
    app.router.add_get("/v1/objects/{id}/content", object_content)
    app.router.add_get(MEDIA_ROUTE, media)
    app.router.add_options(MEDIA_ROUTE, app[TENANT_CORS].options)


async def object_content(request: web.Request) -> web.StreamResponse:
    """The content of a live object of the key's tenant."""
    app = request.app
    delivery = app[DELIVERY]
    tenant = await app[AUTHENTICATOR].tenant(request)
    readable = await delivery.allowed.object(tenant.id, request.match_info["id"])
    if readable is None:
        raise NotFound
    return await delivery.answer(request, readable, readable.name, BY_OBJECT)


async def media(request: web.Request) -> web.StreamResponse:
    """A blob that a live object of the tenant points at."""
    app = request.app
    delivery = app[DELIVERY]
    named = request.match_info
    readable = await delivery.allowed.blob(named["tenant"], named["blob"])
    granting, tenant = app[GRANTING], named["tenant"]
    public = readable is not None and readable.public
    grant = await granting.grant(request, tenant, public=public)
    if readable is None:
        raise NotFound
    return await delivery.answer(request, readable, named["filename"], grant)


async def _delivery(app: web.Application) -> AsyncIterator[None]:
    settings, clock, catalog, metrics = app[SETTINGS], app[CLOCK], app[CATALOG], app[METRICS]
    store = VerifiedStore(app[CHUNK_STORE], catalog, clock, metrics)
    cache = ChunkCache(settings.memory.chunk_cache_bytes)
    spool = Spool(settings.memory.spool_directory)
    disk = _disk_cache(app, store)
    fetch = store.get if disk is None else disk.get
    chunks = Chunks(fetch, cache, spool, app[MEMORY], settings.memory, clock, metrics)
    allowed = AllowedReads(catalog, clock, settings.delivery)
    app[GRANTING] = Granting(
        SignedLinks(settings.links, clock),
        app[AUTHENTICATOR],
        unsigned_parameters=settings.links.signing == "off",
    )
    app[DELIVERY] = Delivery(
        allowed=allowed,
        parts=ReaderParts(Layouts(catalog), chunks, store, settings.delivery.read_ahead_chunks),
        clock=clock,
        metrics=metrics,
        date=DateLine(clock),
        cors=app[TENANT_CORS],
        renderer=HeaderRenderer(settings.cdn, pdf_inline=settings.delivery.pdf_inline),
        send_idle_timeout_seconds=settings.http.send_idle_timeout_seconds,
        ranges_max=settings.delivery.ranges_max,
    )
    app[WARM_READS] = WarmReads(app[DELIVERY], app[GRANTING], app[OBSERVER], MEDIA_ROUTE)
    metrics.watch_chunk_cache(lambda: cache.held_bytes)
    listener = Listener(
        settings.catalog,
        clock,
        DELETED_CHANNEL,
        on_notify=allowed.notified,
        on_listening=allowed.listening,
        on_lost=allowed.lost,
    )
    async with lasting(clock, listener.run, *([] if disk is None else [disk.sweep])):
        yield
    await chunks.close()
    spool.close()
    if disk is not None:
        await disk.close()


def _disk_cache(app: web.Application, store: VerifiedStore) -> DiskCache | None:
    settings, clock = app[SETTINGS].delivery, app[CLOCK]
    directory = settings.disk_cache_directory
    if directory is None:
        return None
    try:
        folder = DiskFolder(
            directory,
            limit_bytes=settings.disk_cache_bytes,
            seconds_max=settings.disk_cache_seconds,
            clock=clock,
        )
    except OSError as error:
        raise BadSettings(f"delivery.disk_cache_directory: {error}") from None
    metrics = DiskCacheMetrics(app[METRICS].registry)
    return DiskCache(store.get, folder, app[MEMORY], clock, metrics)
