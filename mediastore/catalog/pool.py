"""The connection pool, the one place that retries transactions, and the translation door for
asyncpg.

Every statement goes through `Catalog`: by its name in sql/*.sql, as one implicit transaction and
one round trip. Deadlock and serialization failures are tried again here and nowhere else.
`synchronous_commit` is on for every connection: an acknowledged offset is durable (INV-1).
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import structlog

from mediastore.catalog.queries import load_queries
from mediastore.clock import Clock
from mediastore.collector_errors import ClockSkew, CollectorPaused, DatabaseRestored, Held
from mediastore.errors import (
    BadDigest,
    BadLength,
    CatalogUnavailable,
    ChunkChanged,
    IdempotencyKeyInUse,
    InvariantBroken,
    MediastoreError,
    NotFound,
    OffsetMismatch,
    SchemaMismatch,
    TooLarge,
    UploadFinishing,
    UploadTaken,
)
from mediastore.joining_errors import BadConcatenation, PartTaken
from mediastore.settings import CatalogSettings

log = structlog.get_logger(__name__)


# SQLSTATEs that our own functions raise.
_REFUSALS: dict[str, type[MediastoreError]] = {
    "MS001": NotFound,
    "MS002": UploadTaken,
    "MS003": OffsetMismatch,
    "MS004": UploadFinishing,
    "MS005": BadLength,
    "MS006": ChunkChanged,
    "MS007": IdempotencyKeyInUse,
    "MS008": BadDigest,
    "MS011": BadConcatenation,
    "MS012": PartTaken,
    "MS013": TooLarge,
    "MS020": DatabaseRestored,
    "MS021": CollectorPaused,
    "MS022": ClockSkew,
    "MS023": Held,
    "MS900": InvariantBroken,
}
_RETRIED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
# SQLSTATEs, and classes of them, that mean "not now": connection, a server that is a standby now,
# authorization, no such database (yet), rolled back, resources, operator intervention and statement
# timeouts, system, idle and lock timeouts.
_UNAVAILABLE_CLASSES = ("08", "25006", "28", "3D", "40", "53", "57", "58", "25P03", "55P03")


def translated(error: BaseException) -> MediastoreError | None:
    """Our error for one of asyncpg's; None when it is not a driver's error at all."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _REFUSALS:
            refusal = _REFUSALS[state]
            if refusal is OffsetMismatch:
                return OffsetMismatch(offset=int(error.args[0]))
            return refusal(str(error.args[0])) if refusal is not NotFound else NotFound()
        if state.startswith(_UNAVAILABLE_CLASSES):
            return CatalogUnavailable(f"the database refused: {error.args[0]}")
        if state.startswith("23"):
            return InvariantBroken(f"constraint {error.constraint_name or '?'} refused a change")
        if state in ("42P01", "42703", "42883"):
            return SchemaMismatch(f"the database lacks something: {error.args[0]}")
        return MediastoreError(f"the database answered {state}: {error.args[0]}")
    if isinstance(error, asyncpg.exceptions._base.DataError):  # not the public class of that name
        return MediastoreError(f"an argument cannot be sent to the database: {error}")
    if isinstance(
        error, asyncpg.InterfaceError | OSError | TimeoutError | asyncpg.InternalClientError
    ):
        return CatalogUnavailable(
            f"the database cannot be reached: {error or type(error).__name__}"
        )
    return None


@contextmanager
def translation_door() -> Iterator[None]:
    """Driver errors raised inside leave as ours."""
    try:
        yield
    except MediastoreError:
        raise
    except Exception as error:
        ours = translated(error)
        if ours is None:
            raise
        raise ours from error


async def _keep_session(connection: Any) -> None:
    """No RESET on release: sessions hold no state, and it would be a round trip a request."""


class Catalog:
    """Statements by name on a pool of connections to the primary."""

    def __init__(self, pool: asyncpg.Pool, settings: CatalogSettings, clock: Clock) -> None:
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._queries = load_queries()

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """All rows of the named query."""
        statement = self._queries[query]
        rows: list[asyncpg.Record] = await self._run(
            lambda connection: connection.fetch(statement, *arguments)
        )
        return rows

    async def fetch_row(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        """The first row of the named query."""
        statement = self._queries[query]
        return await self._run(lambda connection: connection.fetchrow(statement, *arguments))

    async def fetch_value(self, query: str, *arguments: Any) -> Any:
        """The first column of the first row of the named query."""
        statement = self._queries[query]
        return await self._run(lambda connection: connection.fetchval(statement, *arguments))

    async def execute(self, query: str, *arguments: Any) -> None:
        """The named query, its rows not wanted."""
        statement = self._queries[query]
        await self._run(lambda connection: connection.execute(statement, *arguments))

    async def fetch_row_patiently(
        self, query: str, *arguments: Any, timeout_seconds: float
    ) -> asyncpg.Record | None:
        """As `fetch_row`, for a statement whose work grows with an upload: it may take longer."""
        statement = self._queries[query]

        async def work(connection: Any) -> asyncpg.Record | None:
            async with connection.transaction():
                await connection.execute(
                    f"SET LOCAL statement_timeout = {int(timeout_seconds * 1000)}"
                )
                row: asyncpg.Record | None = await connection.fetchrow(
                    statement, *arguments, timeout=timeout_seconds + 5
                )
                return row

        return await self._run(work)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for work that needs one transaction over several statements."""
        with translation_door():
            async with self._pool.acquire(
                timeout=self._settings.acquire_timeout_seconds
            ) as connection:
                yield connection

    def statement(self, query: str) -> str:
        """The text of a named query, for `connection()`."""
        return self._queries[query]

    @property
    def connections(self) -> tuple[int, int]:
        """Open and idle connections."""
        return self._pool.get_size(), self._pool.get_idle_size()

    async def _run(self, work: Callable[[Any], Any]) -> Any:
        with translation_door():
            for tried in range(self._settings.retries_max):
                try:
                    return await self._once(work)
                except _RETRIED:
                    await self._clock.sleep(_pause_seconds(tried))
            return await self._once(work)

    async def _once(self, work: Callable[[Any], Any]) -> Any:
        connection = await self._pool.acquire(timeout=self._settings.acquire_timeout_seconds)
        try:
            return await work(connection)
        finally:
            await self._pool.release(connection)


def _pause_seconds(tried: int) -> float:
    """Longer at each try, and random, so that two that met do not meet again."""
    return random.uniform(0, 0.01 * 2 ** min(tried, 6))  # noqa: S311  (keeps no secret)


@asynccontextmanager
async def open_catalog(settings: CatalogSettings, clock: Clock) -> AsyncIterator[Catalog]:
    """A catalog on the primary that `settings.dsn` names. Raises CatalogUnavailable."""
    server_settings = {
        "application_name": "mediastore",
        "synchronous_commit": "on",
        "statement_timeout": str(int(settings.statement_timeout_seconds * 1000)),
        "lock_timeout": str(int(settings.lock_timeout_seconds * 1000)),
        "idle_in_transaction_session_timeout": "60000",
        "timezone": "UTC",
        "jit": "off",
    }
    with translation_door():
        pool = await asyncpg.create_pool(
            settings.dsn.get_secret_value(),
            min_size=min(settings.pool_size_min, settings.pool_size_max),
            max_size=settings.pool_size_max,
            max_inactive_connection_lifetime=300,
            timeout=settings.acquire_timeout_seconds,
            command_timeout=settings.statement_timeout_seconds + 5,
            server_settings=server_settings,
            reset=_keep_session,
        )
    try:
        yield Catalog(pool, settings, clock)
    finally:
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            log.warning("catalog_close_slow", detail="connections were still in use; terminated")
            pool.terminate()
