"""The pool when the database is slow, full, gone, and back."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mediastore.catalog.migrations import migrate
from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.catalog.tenants import create_tenant, get_tenant, list_tenants
from mediastore.clock import SystemClock
from mediastore.errors import CatalogUnavailable
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import CatalogSettings
from tests.conftest import FORGETFUL
from tests.integration.catalog.conftest import OpenCatalog


@pytest.fixture
def postgres() -> Iterator[LocalPostgres]:
    """A server that the test may stop: nobody else uses it."""
    folder = Path(tempfile.mkdtemp(prefix="mspool-"))
    folder.chmod(0o711)
    server = LocalPostgres(folder / "postgres", folder / "postgres.log", options=FORGETFUL)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def test_work_goes_on_when_the_database_comes_back(postgres: LocalPostgres) -> None:
    dsn = postgres.dsn("postgres")
    await migrate(dsn)
    settings = CatalogSettings.model_validate({"dsn": dsn, "acquire_timeout_seconds": 2})
    async with open_catalog(settings, SystemClock()) as catalog:
        await create_tenant(catalog, "acme")
        await asyncio.to_thread(postgres.stop)
        for _ in range(3):
            with pytest.raises(CatalogUnavailable):
                await list_tenants(catalog)
        await asyncio.to_thread(postgres.start)
        assert await answers_again(catalog)


async def test_killed_backends_cost_at_most_one_answer_each(
    open_on: OpenCatalog, connection: "asyncpg.Connection[Any]"
) -> None:
    catalog = await open_on(pool_size_min=4, pool_size_max=4)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'mediastore' AND datname = current_database()"
    )
    assert await answers_again(catalog, tries=5)


async def answers_again(catalog: Catalog, *, tries: int = 20) -> bool:
    for _ in range(tries):
        try:
            await list_tenants(catalog)
        except CatalogUnavailable:
            continue
        return True
    return False


async def test_a_caller_waits_only_so_long_for_a_connection(open_on: OpenCatalog) -> None:
    catalog = await open_on(pool_size_max=1, acquire_timeout_seconds=0.05)
    async with catalog.connection():
        with pytest.raises(CatalogUnavailable):
            await list_tenants(catalog)
    assert await list_tenants(catalog) == []


async def test_a_statement_runs_only_so_long(open_on: OpenCatalog) -> None:
    catalog = await open_on(statement_timeout_seconds=0.05)
    catalog._queries = {**catalog._queries, "sleeps": "SELECT pg_sleep(30)"}
    with pytest.raises(CatalogUnavailable, match="statement timeout"):
        await catalog.fetch_value("sleeps")
    assert await list_tenants(catalog) == []


async def test_a_statement_waits_only_so_long_for_a_row_lock(
    open_on: OpenCatalog, connection: "asyncpg.Connection[Any]"
) -> None:
    catalog = await open_on(lock_timeout_seconds=0.05)
    await create_tenant(catalog, "acme")
    catalog._queries = {
        **catalog._queries,
        "locks": "SELECT id FROM tenants WHERE id = 'acme' FOR UPDATE",
    }
    async with connection.transaction():
        await connection.execute("SELECT FROM tenants WHERE id = 'acme' FOR UPDATE")
        with pytest.raises(CatalogUnavailable, match="lock timeout"):
            await catalog.fetch("locks")
    assert len(await catalog.fetch("locks")) == 1


async def test_a_cancelled_caller_gives_its_connection_back(open_on: OpenCatalog) -> None:
    catalog = await open_on(pool_size_max=1)
    catalog._queries = {**catalog._queries, "sleeps": "SELECT pg_sleep(30)"}
    sleeping = asyncio.create_task(catalog.fetch_value("sleeps"))
    for _ in range(500):
        await asyncio.sleep(0.01)
        if catalog.connections == (1, 0):
            break
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert await get_tenant(catalog, "acme") is None


async def test_commits_are_durable(catalog: Catalog) -> None:
    """INV-1: what is acknowledged survives the crash of the server."""
    async with catalog.connection() as connection:
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


async def test_an_unreachable_database_is_unavailable_not_a_crash() -> None:
    settings = CatalogSettings.model_validate({"dsn": "postgresql://x@127.0.0.1:1/none"})
    with pytest.raises(CatalogUnavailable):
        async with open_catalog(settings, SystemClock()):
            raise AssertionError("it opened")
