"""The one door between asyncpg and us: what its errors become, and which are tried again."""

from inspect import isclass
from typing import Any

import asyncpg
import pytest
from asyncpg import exceptions
from asyncpg.exceptions import _base

from mediastore.catalog.pool import Catalog, translated
from mediastore.collector_errors import ClockSkew, CollectorPaused, DatabaseRestored
from mediastore.errors import (
    BadDigest,
    BadLength,
    CatalogUnavailable,
    ChunkChanged,
    InvariantBroken,
    MediastoreError,
    NotFound,
    OffsetMismatch,
    SchemaMismatch,
    UploadFinishing,
    UploadTaken,
)
from tests.integration.catalog.conftest import OpenCatalog

SERVER_ERRORS: list[Any] = sorted(
    (
        kind
        for kind in vars(exceptions).values()
        if isclass(kind)
        and issubclass(kind, asyncpg.PostgresError)
        and str(getattr(kind, "sqlstate", None) or "")
    ),
    key=lambda kind: (str(getattr(kind, "sqlstate", "")), kind.__name__),
)
# "Not now": the same statement can work later, so the client is told 503 and when to come back.
UNAVAILABLE = {
    "08": "connection",
    "25006": "the server is a standby now",
    "25P03": "idle in transaction for too long",
    "28": "authorization: passwords are being changed, or the address is wrong",
    "3D": "no such database: not restored yet, or the address is wrong",
    "40": "deadlock, serialization failure, or the fate of the commit is unknown",
    "53": "resources: disk full, memory, connections",
    "55P03": "lock timeout",
    "57": "operator: shutdown, statement timeout, starting up",
    "58": "the server's system: I/O",
}
SCHEMA = {"42P01": "table", "42703": "column", "42883": "function"}
REFUSALS: dict[str, type[MediastoreError]] = {
    "MS001": NotFound,
    "MS002": UploadTaken,
    "MS003": OffsetMismatch,
    "MS004": UploadFinishing,
    "MS005": BadLength,
    "MS006": ChunkChanged,
    "MS008": BadDigest,
    "MS020": DatabaseRestored,
    "MS021": CollectorPaused,
    "MS022": ClockSkew,
    "MS900": InvariantBroken,
}


def expected(state: str) -> type[MediastoreError]:
    if state.startswith(tuple(UNAVAILABLE)):
        return CatalogUnavailable
    if state in SCHEMA:
        return SchemaMismatch
    return InvariantBroken if state.startswith("23") else MediastoreError


@pytest.mark.parametrize("kind", SERVER_ERRORS, ids=lambda kind: f"{kind.sqlstate}-{kind.__name__}")
def test_every_error_of_the_server(kind: type[asyncpg.PostgresError]) -> None:
    ours = translated(kind("said so"))
    assert type(ours) is expected(str(kind.sqlstate))


@pytest.mark.parametrize(
    "kind",
    [
        exceptions.InterfaceError,
        exceptions.InternalClientError,
        exceptions.ProtocolError,
        exceptions.OutdatedSchemaCacheError,
        exceptions.ClientConfigurationError,
        exceptions.TargetServerAttributeNotMatched,
        ConnectionResetError,
        ConnectionRefusedError,
        FileNotFoundError,
        TimeoutError,
    ],
)
def test_every_failure_to_reach_the_server(kind: type[Exception]) -> None:
    assert type(translated(kind("said so"))) is CatalogUnavailable


def test_an_argument_that_postgres_cannot_take_is_no_outage() -> None:
    """A client that comes back later with the same argument fails again: 500, and a bug of ours."""
    assert type(translated(_base.DataError("invalid input for query argument $1"))) is not (
        CatalogUnavailable
    )


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), AssertionError("x")])
def test_other_errors_are_not_the_drivers(error: Exception) -> None:
    assert translated(error) is None


@pytest.mark.parametrize("state", sorted(REFUSALS))
async def test_every_refusal_of_our_functions(
    state: str, connection: "asyncpg.Connection[Any]"
) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await connection.execute(
            f"DO $$ BEGIN RAISE EXCEPTION '7' USING ERRCODE = '{state}'; END $$"
        )
    ours = translated(caught.value)
    assert type(ours) is REFUSALS[state]
    if isinstance(ours, OffsetMismatch):
        assert ours.members == {"offset": 7}


async def failing(connection: "asyncpg.Connection[Any]", state: str, times: int) -> str:
    """The statement of a function that fails `times` times with `state` and then returns 'done'.

    A sequence counts, because its steps are not rolled back.
    """
    await connection.execute(f"""
        CREATE SEQUENCE tries;
        CREATE FUNCTION fails() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('tries') <= {times} THEN
                RAISE EXCEPTION 'again' USING ERRCODE = '{state}';
            END IF;
            RETURN 'done';
        END $$;
    """)
    return "SELECT fails()"


async def tries(connection: "asyncpg.Connection[Any]") -> int:
    return int(await connection.fetchval("SELECT last_value FROM tries"))


@pytest.mark.parametrize("state", ["40P01", "40001"])
async def test_deadlocks_and_serialization_failures_are_tried_again(
    state: str, catalog: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    catalog._queries = {"fails": await failing(connection, state, 3)}
    assert await catalog.fetch_value("fails") == "done"
    assert await tries(connection) == 4


async def test_tries_end(open_on: OpenCatalog, connection: "asyncpg.Connection[Any]") -> None:
    catalog = await open_on(retries_max=2)
    catalog._queries = {"fails": await failing(connection, "40P01", 100)}
    with pytest.raises(CatalogUnavailable):
        await catalog.fetch_value("fails")
    assert await tries(connection) == 3


@pytest.mark.parametrize("state", ["08006", "57P01", "53300", "23505", "MS006", "XX000"])
async def test_nothing_else_is_tried_again(
    state: str, catalog: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    """A commit whose answer was lost may have happened: repeating it is the caller's decision."""
    catalog._queries = {"fails": await failing(connection, state, 1)}
    with pytest.raises(MediastoreError):
        await catalog.fetch_value("fails")
    assert await tries(connection) == 1
