"""A Postgres of a measurement's own, durable, with migrated databases."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from mediastore.catalog.migrations import migrate
from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.clock import SystemClock
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import CatalogSettings


@contextmanager
def local_postgres(
    folder: Path, options: Mapping[str, str] | None = None
) -> Iterator[LocalPostgres]:
    """The bundled Postgres with its own, durable, default settings but for `options`; ends with the
    block.
    """
    folder.chmod(0o755)  # it may run as another user
    postgres = LocalPostgres(folder / "postgres", folder / "postgres.log", options=options or {})
    postgres.start()
    try:
        yield postgres
    finally:
        postgres.stop()


async def make_database(postgres: LocalPostgres, name: str) -> str:
    """A new database, migrated; its URI."""
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    dsn = postgres.dsn(name)
    await migrate(dsn)
    return dsn


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[tuple[Catalog, asyncpg.Connection]]:
    """The catalog as the service sees it, and a connection to look at it from outside."""
    settings = CatalogSettings.model_validate({"dsn": dsn})
    async with open_catalog(settings, SystemClock()) as catalog:
        connection = await asyncpg.connect(dsn)
        try:
            yield catalog, connection
        finally:
            await connection.close()
