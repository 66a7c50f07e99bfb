"""Schema migrations: `NNNN_{pre|post}_what.sql`, in order, each in a transaction of its own.

`pre` files only expand: they run before new code is deployed and old code runs on them. `post`
files contract: they run when no old code is left. One migrator at a time (advisory lock); a
migration that cannot get its locks soon gives up instead of holding up the service.
"""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

import asyncpg

from mediastore.catalog.pool import translation_door
from mediastore.errors import SchemaMismatch

LOCK_TIMEOUT_MS = 5_000
_MIGRATOR_LOCK = 0x6D656469  # "medi"
_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of this folder."""

    name: str
    statements: str

    @property
    def checksum(self) -> str:
        return sha256(self.statements.encode()).hexdigest()

    @property
    def phase(self) -> str:
        """`pre` (before the new code) or `post` (after the old code is gone)."""
        return self.name.split("_")[1]


def all_migrations() -> list[Migration]:
    """Every migration of this version, in order."""
    found = [item for item in files(__package__).iterdir() if item.name.endswith(".sql")]
    return [
        Migration(item.name.removesuffix(".sql"), item.read_text(encoding="utf-8"))
        for item in sorted(found, key=lambda item: item.name)
    ]


async def migrate(dsn: str, *, phase: str | None = None, upto: str | None = None) -> list[str]:
    """Apply what is missing (only `pre` or `post` with `phase`; not past `upto`).

    Returns the names applied. Raises SchemaMismatch when an applied migration is not the one that
    this version has, CatalogUnavailable.
    """
    applied: list[str] = []
    with translation_door():
        connection = await asyncpg.connect(
            dsn, server_settings={"lock_timeout": str(LOCK_TIMEOUT_MS)}
        )
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATOR_LOCK)
            await connection.execute(_CREATE_LEDGER)
            ledger = await _ledger(connection)
            for migration in all_migrations():
                if upto is not None and migration.name > upto:
                    break
                if migration.name in ledger:
                    _refuse_changed(migration, ledger[migration.name])
                    continue
                if phase is not None and migration.phase != phase:
                    continue
                async with connection.transaction():
                    await connection.execute(migration.statements)
                    await connection.execute(
                        "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
                        migration.name,
                        migration.checksum,
                    )
                applied.append(migration.name)
        finally:
            await connection.close()
    return applied


async def check_schema(connection: asyncpg.Connection) -> None:
    """Raise SchemaMismatch unless every `pre` migration of this version is applied, unchanged.

    `pre` migrations that this version does not know are fine: newer code has expanded the schema
    already. An unknown `post` one is not: newer code has taken away what this version needs.
    """
    with translation_door():
        if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
            raise SchemaMismatch("the database is empty; run 'mediastore migrate'")
        ledger = await _ledger(connection)
    missing = [m.name for m in all_migrations() if m.phase == "pre" and m.name not in ledger]
    if missing:
        raise SchemaMismatch(f"not applied: {', '.join(missing)}; run 'mediastore migrate'")
    known = {m.name for m in all_migrations()}
    contracted = sorted(name for name in set(ledger) - known if "_post_" in name)
    if contracted:
        raise SchemaMismatch(f"this version is too old: {', '.join(contracted)} was applied")


async def _ledger(connection: asyncpg.Connection) -> dict[str, str]:
    rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
    return {row["name"]: row["checksum"] for row in rows}


def _refuse_changed(migration: Migration, checksum: str) -> None:
    if migration.checksum != checksum:
        raise SchemaMismatch(f"migration {migration.name} was applied with other contents")
