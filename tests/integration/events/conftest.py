"""A catalog with a tenant, a receiver, and deliveries that tests start and stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import asyncpg
import pytest

from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.catalog.tenants import change_tenant, create_tenant
from mediastore.clock import SystemClock
from mediastore.events.delivery import Delivery
from mediastore.hooks.posting import open_poster
from mediastore.settings import CatalogSettings, EventsSettings
from mediastore.telemetry.metrics import Metrics
from tests.receiver import Receiver, receiving

TENANT = "acme"
# Nothing waits for a clock: tries follow at once, unless a test wants to see a pause.
HASTY = {"poll_seconds": 0.01, "retry_delay_seconds": 0.001, "retry_delay_max_seconds": 0.001}


@pytest.fixture
async def catalog(dsn: str) -> AsyncIterator[Catalog]:
    async with open_catalog(CatalogSettings(dsn=dsn), SystemClock()) as opened:
        await create_tenant(opened, TENANT)
        yield opened


@pytest.fixture
async def sql(connection: asyncpg.Connection) -> asyncpg.Connection:
    return connection


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


@pytest.fixture
async def secret(catalog: Catalog, receiver: Receiver) -> str:
    """The tenant's: it has the receiver as its webhook."""
    made = await change_tenant(catalog, TENANT, {"webhook_url": receiver.url})
    assert made is not None
    return made


class Running:
    """A delivery that runs, as a process's does."""

    def __init__(self, delivery: Delivery, metrics: Metrics) -> None:
        self.delivery = delivery
        self._metrics = metrics
        self._task = asyncio.create_task(delivery.run())

    def counted(self, outcome: str) -> float:
        """Attempts that ended in this way."""
        name = "mediastore_events_attempts_total"
        return self._metrics.registry.get_sample_value(name, {"outcome": outcome}) or 0

    def sample(self, name: str) -> float | None:
        return self._metrics.registry.get_sample_value(f"mediastore_{name}")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.delivery.close()


Deliver = Callable[..., Awaitable[Running]]


@pytest.fixture
async def deliver(catalog: Catalog) -> AsyncIterator[Deliver]:
    """Start deliveries; keywords are settings."""
    async with AsyncExitStack() as stack:

        async def starter(**settings: object) -> Running:
            poster = await stack.enter_async_context(open_poster(SystemClock()))
            chosen = EventsSettings.model_validate(HASTY | settings)
            metrics = Metrics.create()
            delivery = Delivery(catalog, poster, chosen, SystemClock(), metrics)
            running = Running(delivery, metrics)
            stack.push_async_callback(running.stop)
            return running

        yield starter


async def record(catalog: Catalog, number: int = 1, tenant: str = TENANT) -> None:
    """Events, as functions of the catalog record them."""
    async with catalog.connection() as connection:
        for index in range(number):
            await connection.execute(
                "SELECT event_record_v1($1, 'test', jsonb_build_object('n', $2::integer))",
                tenant,
                index,
            )
