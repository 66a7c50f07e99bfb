"""The application: every part in the order in which it is opened, every route, every middleware.

A part that cannot be opened ends the start with its error. Once running, a part that fails makes
requests fail with its stable code (503), and the next request that needs it tries again.
"""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from mediastore.access.authenticator import Authenticator
from mediastore.access.fair_share import FAIR_SHARE, FairShare
from mediastore.allocator import give_back_after_bursts
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
from mediastore.catalog.migrations import check_schema
from mediastore.catalog.policy import TenantPolicy
from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.chunkstore.opening import open_chunk_store
from mediastore.clock import Clock
from mediastore.delivery import routes as delivery
from mediastore.delivery.keys import DELIVERY
from mediastore.events.delivering import add_delivery
from mediastore.images import routes as images
from mediastore.memory import MemoryBudget
from mediastore.objects import routes as objects
from mediastore.problems import answer_error
from mediastore.public_urls import PUBLIC_URLS, PublicUrls
from mediastore.settings import Settings
from mediastore.telemetry.access_log import AccessLog, make_access_log
from mediastore.telemetry.health import READINESS, Readiness, health_routes
from mediastore.telemetry.metrics import Metrics
from mediastore.telemetry.requests import RequestObserver, echo_request_id, observe_requests
from mediastore.tenant_cors import TENANT_CORS, TenantCors
from mediastore.uploads import routes as uploads


def build_app(
    settings: Settings, *, clock: Clock, metrics: Metrics | None = None
) -> web.Application:
    """The service as an aiohttp application; its parts are opened when it starts."""
    metrics = Metrics.create() if metrics is None else metrics
    urls, cors = PublicUrls(settings.http), TenantCors(settings.cors, _policy_of)
    observer = RequestObserver(
        metrics,
        clock,
        access_log=_access_log(settings, clock),
        client_of=urls.client,
        in_progress_max=settings.http.requests_max,
    )
    share = FairShare(settings.http.requests_max, settings.http.tenant_requests_share)
    app = web.Application(
        middlewares=[
            observe_requests(
                observer,
                answer_error=answer_error,
                on_end=share.leave,
            ),
            *([] if cors.service is None else [cors.answer_preflights]),
        ],
        client_max_size=settings.http.json_body_max_bytes,
    )
    app[SETTINGS], app[CLOCK], app[METRICS] = settings, clock, metrics
    app[OBSERVER] = observer
    app[PUBLIC_URLS], app[TENANT_CORS], app[FAIR_SHARE] = urls, cors, share
    app[MEMORY] = memory = MemoryBudget(
        settings.memory.budget_bytes, reads_share=settings.memory.reads_share
    )
    metrics.watch_memory(lambda: memory.in_use_bytes, lambda: memory.waiting)
    app[READINESS] = Readiness(
        {
            "catalog": lambda: _check_catalog(app[CATALOG]),
            "chunk_store": lambda: app[CHUNK_STORE].check(),
            "chunks": lambda: app[DELIVERY].parts.store.check(),
        },
        clock,
    )
    app.cleanup_ctx.append(_memory)
    app.cleanup_ctx.append(_catalog)
    app.cleanup_ctx.append(_chunk_store)
    app.router.add_routes(health_routes(app[READINESS]))
    delivery.add_routes(app)
    objects.add_routes(app)
    uploads.add_routes(app)
    images.add_routes(app)
    add_delivery(app)
    app.on_response_prepare.append(echo_request_id)
    app.on_response_prepare.append(cors.mark)
    return app


def _access_log(settings: Settings, clock: Clock) -> AccessLog | None:
    return make_access_log(settings.log, clock) if settings.http.access_log else None


async def _policy_of(request: web.Request, tenant: str) -> TenantPolicy:
    return (await request.app[AUTHENTICATOR].policies.tenant(tenant)).policy


async def _memory(app: web.Application) -> AsyncIterator[None]:
    cache_max_bytes = app[SETTINGS].memory.chunk_cache_bytes
    giving_back = asyncio.create_task(
        give_back_after_bursts(app[MEMORY], app[CLOCK], cache_max_bytes=cache_max_bytes)
    )
    yield
    giving_back.cancel()


async def _catalog(app: web.Application) -> AsyncIterator[None]:
    settings, clock = app[SETTINGS].catalog, app[CLOCK]
    async with open_catalog(settings, clock) as catalog:
        async with catalog.connection() as connection:
            await check_schema(connection)
        app[CATALOG] = catalog
        app[AUTHENTICATOR] = Authenticator(catalog, clock, app[FAIR_SHARE])
        app[METRICS].watch_pool(lambda: catalog.connections)
        yield


async def _chunk_store(app: web.Application) -> AsyncIterator[None]:
    settings, registry = app[SETTINGS].chunk_store, app[METRICS].registry
    async with open_chunk_store(settings, app[CLOCK], registry) as store:
        await store.check()
        app[CHUNK_STORE] = store
        yield


async def _check_catalog(catalog: Catalog) -> None:
    await catalog.fetch_value("ping")
