"""A service with uploads alone: real Postgres, a store in memory that tests can break."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web_runner import BaseRunner

from mediastore.access.authenticator import Authenticator
from mediastore.app_keys import (
    AUTHENTICATOR,
    CATALOG,
    CHUNK_STORE,
    CLOCK,
    MEMORY,
    METRICS,
    SETTINGS,
)
from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.catalog.tenants import create_api_key, create_tenant
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.clock import SystemClock
from mediastore.memory import MemoryBudget
from mediastore.problems import render_problems
from mediastore.public_urls import PUBLIC_URLS, PublicUrls
from mediastore.settings import Settings, load_settings
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.routes import add_routes
from mediastore.uploads.service import Uploads
from tests.faults import FaultyStore

SMALL_CHUNKS = {"size_min_bytes": 1024, "size_average_bytes": 4096, "size_max_bytes": 8192}


@dataclass(slots=True)
class Service:
    """A running service and everything a test may want to reach into."""

    client: TestClient[web.Request, web.Application]
    app: web.Application
    catalog: Catalog
    store: FaultyStore
    kept: MemoryChunkStore
    memory: MemoryBudget
    settings: Settings
    key: str
    tus: dict[str, str] = field(default_factory=dict)

    @property
    def uploads(self) -> Uploads:
        return self.app[UPLOADS]

    def app_metric(self, name: str, **labels: str) -> float | None:
        """A metric's value now."""
        return self.app[METRICS].registry.get_sample_value(f"mediastore_{name}", labels)

    @property
    def received_bytes(self) -> float:
        """Bytes of bodies that it has read."""
        registry = self.app[METRICS].registry
        return registry.get_sample_value("mediastore_bytes_received_total") or 0

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


AS_SERVED = {"handler_cancellation": False, "auto_decompress": False}


class LastingServer(TestServer):
    """As in production: a handler whose client has gone is not cancelled, it stores what came, and
    content stays coded.
    """

    async def _make_runner(self, **kwargs: Any) -> BaseRunner:
        return await super()._make_runner(**{**kwargs, **AS_SERVED})


async def until(condition: Callable[[], bool]) -> None:
    """Poll for what no event tells; the test's own timeout bounds it."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


Starter = Callable[..., Awaitable[Service]]


@pytest.fixture
async def start(dsn: str) -> AsyncIterator[Starter]:
    """Start services on one database; `store=` shares a store, as replicas do."""
    closers: list[Callable[[], Awaitable[object]]] = []
    made: dict[str, str] = {}

    async def starter(
        kept: MemoryChunkStore | None = None, *, pool_size_max: int = 16, **sections: object
    ) -> Service:
        sections.setdefault("chunking", SMALL_CHUNKS)
        catalog_section = {"dsn": dsn, "pool_size_max": pool_size_max}
        settings = load_settings(None, catalog=catalog_section, **sections)
        clock = SystemClock()
        context = open_catalog(settings.catalog, clock)
        catalog = await context.__aenter__()
        closers.append(lambda: context.__aexit__(None, None, None))
        if not made:
            await create_tenant(catalog, "acme")
            made["key"] = await create_api_key(catalog, "acme", name="test")
        kept = MemoryChunkStore() if kept is None else kept
        store = FaultyStore(kept)
        app = web.Application(middlewares=[render_problems])
        app[SETTINGS], app[CLOCK], app[CATALOG] = settings, clock, catalog
        app[CHUNK_STORE], app[METRICS] = store, Metrics.create()
        app[MEMORY] = MemoryBudget(settings.memory.budget_bytes)
        app[PUBLIC_URLS] = PublicUrls(settings.http)
        app[AUTHENTICATOR] = Authenticator(catalog, clock)
        add_routes(app)
        client = TestClient(LastingServer(app))
        await client.start_server()
        store.calls.clear()  # what the service itself asks at its start
        closers.append(client.close)
        tus = {"Authorization": f"Bearer {made['key']}", "Tus-Resumable": "1.0.0"}
        return Service(client, app, catalog, store, kept, app[MEMORY], settings, made["key"], tus)

    yield starter
    for close in reversed(closers):
        await close()


@pytest.fixture
async def service(start: Starter) -> Service:
    return await start()


@pytest.fixture
async def sql(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to look at the tables."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()
