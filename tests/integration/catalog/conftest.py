"""Catalogs on a test's own database, and empty databases for migrations."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.clock import SystemClock
from mediastore.settings import CatalogSettings
from tests.conftest import DatabaseServer

OpenCatalog = Callable[..., Awaitable[Catalog]]


@pytest.fixture
async def open_on(dsn: str) -> AsyncIterator[OpenCatalog]:
    """Open catalogs on the test's database; keywords are settings."""
    async with AsyncExitStack() as stack:

        async def opener(**settings: object) -> Catalog:
            values = {"dsn": dsn, "pool_size_min": 0, **settings}
            return await stack.enter_async_context(
                open_catalog(CatalogSettings.model_validate(values), SystemClock())
            )

        yield opener


@pytest.fixture
async def catalog(open_on: OpenCatalog) -> Catalog:
    return await open_on()


@pytest.fixture
def empty_dsns(database_server: DatabaseServer) -> Iterator[tuple[str, str]]:
    """The URIs of two databases without a schema."""
    names = (database_server.create_empty(), database_server.create_empty())
    yield database_server.dsn(names[0]), database_server.dsn(names[1])
    for name in names:
        database_server.drop(name)


@pytest.fixture
def empty_dsn(empty_dsns: tuple[str, str]) -> str:
    return empty_dsns[0]
