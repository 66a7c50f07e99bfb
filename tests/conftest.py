"""Shared fixtures: one Postgres for each pytest process, one fresh database for each test.

The server is the embedded one, or $MEDIASTORE_TEST_POSTGRES (a superuser's URI) where that is set.
A template database is migrated once; a test's own database is a clone of it.
`--full` also runs the tests marked `full`, and then a skipped test is a failed one.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import settings

from mediastore.allocator import bound_arenas
from mediastore.local.postgres import LocalPostgres

SYSTEM_POSTGRES = os.environ.get("MEDIASTORE_TEST_POSTGRES")
settings.register_profile("mediastore", deadline=None)  # no test says how long something takes
settings.load_profile("mediastore")
FORGETFUL = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "autovacuum_naptime": "5s",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="run tests marked full; a skip is then a failure"
    )


def pytest_configure() -> None:
    bound_arenas()  # as the service does at its start: tests measure the memory of this process


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    full = [item for item in items if item.get_closest_marker("full")]
    if full:
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.getoption("--full") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under --full: {report.longrepr}"
    return report


class DatabaseServer:
    """Makes and drops databases on one server, from a loop of its own that no test shares."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._connection: asyncpg.Connection[Any] = self.run(asyncpg.connect(dsn))
        self._prefix = f"mediastore_test_{os.getpid()}"
        self._numbers = itertools.count(1)
        self._template: str | None = None

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def dsn(self, database: str) -> str:
        return urlunsplit(urlsplit(self._dsn)._replace(path=f"/{database}"))

    def create(self) -> str:
        """The name of a fresh, migrated database."""
        if self._template is None:
            self._template = self._make_template()
        name = f"{self._prefix}_{next(self._numbers)}"
        self.run(self._connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{self._template}"'))
        return name

    def create_empty(self) -> str:
        """The name of a fresh database without a schema."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self.run(self._connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'))
        return name

    def drop(self, name: str) -> None:
        self.run(self._connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    def close(self) -> None:
        if self._template is not None:
            self.drop(self._template)
        self.run(self._connection.close())
        self._runner.close()

    def _make_template(self) -> str:
        from mediastore.catalog.migrations import migrate

        name = f"{self._prefix}_template"
        self.run(self._connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'))
        self.run(migrate(self.dsn(name)))
        return name


@pytest.fixture(scope="session")
def database_server() -> Iterator[DatabaseServer]:
    """The pytest process's own Postgres; each xdist worker has one, it starts in half a second."""
    if SYSTEM_POSTGRES:
        server = DatabaseServer(SYSTEM_POSTGRES)
        yield server
        server.close()
        return
    folder = Path(tempfile.mkdtemp(prefix="mediastore-test-"))
    postgres = LocalPostgres(folder / "postgres", folder / "postgres.log", options=FORGETFUL)
    try:
        postgres.start()
        server = DatabaseServer(postgres.dsn("postgres"))
        yield server
        server.close()
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def dsn(database_server: DatabaseServer) -> Iterator[str]:
    """The URI of a migrated database that this test has to itself."""
    name = database_server.create()
    yield database_server.dsn(name)
    database_server.drop(name)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A plain connection to `dsn`."""
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()
