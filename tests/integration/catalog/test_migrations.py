"""Migrations: one schema however one gets there, one migrator at a time, all or nothing."""

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from mediastore.catalog import migrations
from mediastore.catalog.migrations import Migration, all_migrations, check_schema, migrate
from mediastore.catalog.objects import get_object
from mediastore.catalog.tenants import create_tenant
from mediastore.errors import CatalogUnavailable, SchemaMismatch
from tests.integration.catalog.conftest import OpenCatalog
from tests.integration.catalog.schema import describe_schema


@dataclass(frozen=True, slots=True)
class Release:
    """A released version and the last migration that came with it."""

    version: str
    last_migration: str


# Append one line with every release; never change one.
RELEASES = [Release("0.1.0", "0005_pre_object_listings")]


async def schema_of(dsn: str) -> dict[str, dict[str, str]]:
    connection = await asyncpg.connect(dsn)
    try:
        return await describe_schema(connection)
    finally:
        await connection.close()


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.version)
async def test_every_release_is_brought_to_the_schema_of_a_new_database(
    release: Release, empty_dsns: tuple[str, str]
) -> None:
    new, old = empty_dsns
    everything = await migrate(new)
    before = await migrate(old, upto=release.last_migration)
    assert before[-1] == release.last_migration
    assert before + await migrate(old) == everything
    assert await schema_of(old) == await schema_of(new)


async def test_phases_apply_their_own_migrations_alone(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [
        Migration("0001_pre_a", "CREATE TABLE a ()"),
        Migration("0002_post_b", "DROP TABLE a"),
        Migration("0003_pre_c", "CREATE TABLE c ()"),
    ]
    monkeypatch.setattr(migrations, "all_migrations", lambda: known)
    assert await migrate(empty_dsn, phase="pre") == ["0001_pre_a", "0003_pre_c"]
    assert await migrate(empty_dsn, phase="pre") == []
    assert await migrate(empty_dsn, phase="post") == ["0002_post_b"]
    assert set((await schema_of(empty_dsn))["tables"]) == {"c", "schema_migrations"}


async def test_migrators_at_once_apply_each_migration_once(empty_dsn: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_dsn) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(all_migrations())]


async def test_a_migration_that_fails_leaves_nothing_of_itself(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [
        Migration("0001_pre_good", "CREATE TABLE good ()"),
        Migration("0002_pre_bad", "CREATE TABLE half (); SELECT 1 / 0"),
    ]
    monkeypatch.setattr(migrations, "all_migrations", lambda: known)
    with pytest.raises(Exception, match="division by zero"):
        await migrate(empty_dsn)
    assert set((await schema_of(empty_dsn))["tables"]) == {"good", "schema_migrations"}
    monkeypatch.setattr(migrations, "all_migrations", lambda: known[:1])
    assert await migrate(empty_dsn) == []


async def test_a_migration_gives_up_when_it_cannot_get_its_locks(
    dsn: str, monkeypatch: pytest.MonkeyPatch, connection: "asyncpg.Connection[Any]"
) -> None:
    """Waiting for a table lock would queue every other user of the table behind the migration."""
    late = Migration("9999_pre_late", "ALTER TABLE chunks ADD COLUMN extra integer")
    known = [*all_migrations(), late]
    monkeypatch.setattr(migrations, "all_migrations", lambda: known)
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_MS", 50)
    async with connection.transaction():
        await connection.execute("LOCK TABLE chunks IN ACCESS SHARE MODE")
        with pytest.raises(CatalogUnavailable):
            await migrate(dsn)
    assert await migrate(dsn) == ["9999_pre_late"]


async def test_a_changed_migration_is_refused(
    dsn: str, connection: "asyncpg.Connection[Any]"
) -> None:
    first = all_migrations()[0].name
    await connection.execute(
        "UPDATE schema_migrations SET checksum = 'other' WHERE name = $1", first
    )
    with pytest.raises(SchemaMismatch, match=first):
        await migrate(dsn)


async def test_check_schema_names_what_is_missing(
    empty_dsn: str, dsn: str, connection: "asyncpg.Connection[Any]"
) -> None:
    empty = await asyncpg.connect(empty_dsn)
    try:
        with pytest.raises(SchemaMismatch, match="mediastore migrate"):
            await check_schema(empty)
    finally:
        await empty.close()
    await check_schema(connection)
    await connection.execute(
        "INSERT INTO schema_migrations (name, checksum) VALUES ('9999_pre_future', 'x')"
    )
    await check_schema(connection)  # newer code has expanded the schema: old code goes on
    last = [m.name for m in all_migrations() if m.phase == "pre"][-1]
    await connection.execute("DELETE FROM schema_migrations WHERE name = $1", last)
    with pytest.raises(SchemaMismatch, match=last):
        await check_schema(connection)


async def test_running_code_survives_an_added_column(
    open_on: OpenCatalog, connection: "asyncpg.Connection[Any]"
) -> None:
    """`pre` migrations run under live code, whose connections hold prepared statements."""
    from uuid import uuid4

    catalog = await open_on()
    await create_tenant(catalog, "acme")
    assert await get_object(catalog, "acme", uuid4()) is None
    await connection.execute("ALTER TABLE objects ADD COLUMN extra integer")
    await connection.execute("ALTER TABLE uploads ADD COLUMN extra integer")
    assert await get_object(catalog, "acme", uuid4()) is None


async def test_refs_is_in_no_index(connection: "asyncpg.Connection[Any]") -> None:
    """An index on refs ends HOT updates: each change of a count would write every index again."""
    indexes = (await describe_schema(connection))["indexes"]
    assert [name for name, definition in indexes.items() if "refs" in definition] == []


async def test_every_foreign_key_can_be_followed_back_by_an_index(
    connection: "asyncpg.Connection[Any]",
) -> None:
    """Deleting a blob or an upload must not read a whole table; tenants are never deleted."""
    rows = await connection.fetch("""
        SELECT c.conrelid::regclass::text AS table, a.attname AS column
        FROM pg_constraint AS c JOIN pg_attribute AS a
          ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'f' AND c.confrelid <> 'tenants'::regclass
          AND NOT EXISTS (SELECT 1 FROM pg_index AS i
                          WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])
    """)
    assert [tuple(row) for row in rows] == []


async def test_a_version_older_than_a_contraction_does_not_run(
    dsn: str, connection: "asyncpg.Connection[Any]"
) -> None:
    """What newer code has added is no matter; what it has taken away is."""
    ledger = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, 'x')"
    await connection.execute(ledger, "9998_pre_more")
    await check_schema(connection)
    await connection.execute(ledger, "9999_post_less")
    with pytest.raises(SchemaMismatch, match="9999_post_less"):
        await check_schema(connection)
