"""A catalog of which each statement is a step, and often its commit another one.

A statement and its commit are one transaction, as in the service; between the two others go on.
Faults, chosen by the seed: the connection is lost before the statement, before the commit or after
it; a deadlock; a serialization failure; a failover that loses a commit. Whose process dies between
statement and commit has committed, or not.
"""

from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import pytest

from mediastore.catalog import recount
from mediastore.catalog.pool import Catalog, translation_door
from mediastore.clock import Clock
from tests.simulation.processes import WORLD, current_process
from tests.simulation.stepping import Stepper
from tests.simulation.transactions import Transaction, Transactions, Work

T = TypeVar("T")
READERS = (
    "doomed_pages",
    "upload_chunk_pages",
    "unlinking_pieces",
    "manifest_pieces",
    "tombstone_pieces",
)
_statement: ContextVar[tuple[str, tuple[Any, ...]]] = ContextVar("statement")


@dataclass(frozen=True, slots=True)
class CatalogFaults:
    """Shares of all statements; `split`: of those whose commit is a step of its own."""

    split: float = 0.2
    lost_before: float = 0.0
    lost_at_commit: float = 0.0
    lost_after: float = 0.0
    deadlock: float = 0.0
    serialization: float = 0.0
    failover: float = 0.0


class SteppedCatalog(Catalog):
    """Shares the pool of the catalog that it is made of. `doubtful` are uploads of which a failover
    has lost a commit: what the request that wrote it was told since is no promise.
    """

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        transactions: Transactions,
        stepper: Stepper,
        faults: CatalogFaults,
    ) -> None:
        super().__init__(catalog._pool, catalog._settings, clock)
        self.faults = faults
        self.doubtful: set[UUID] = set()
        self._transactions = transactions
        self._stepper = stepper

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        _statement.set((query, arguments))
        return await super().fetch(query, *arguments)

    async def fetch_row(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        _statement.set((query, arguments))
        return await super().fetch_row(query, *arguments)

    async def fetch_row_patiently(
        self, query: str, *arguments: Any, timeout_seconds: float
    ) -> asyncpg.Record | None:
        _statement.set((query, arguments))
        return await super().fetch_row_patiently(query, *arguments, timeout_seconds=timeout_seconds)

    async def fetch_value(self, query: str, *arguments: Any) -> Any:
        _statement.set((query, arguments))
        return await super().fetch_value(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> None:
        _statement.set((query, arguments))
        await super().execute(query, *arguments)

    async def _once(self, work: Work) -> Any:
        query, _ = _statement.get()
        not_before = 0
        transaction = None
        while transaction is None:
            async with self._stepper.turn(query, not_before=not_before):
                self.maybe_fail()
                transaction = await self._transactions.run(work)
                if transaction is None:
                    self._stepper.say("has to wait, and begins again later")
                    not_before = self._stepper.ended + 1
                elif transaction.released is not None:
                    self._stepper.say("is parked")
                elif transaction.failed:
                    await self._transactions.end(transaction, commit=False)
                elif not self._stepper.chance(self.faults.split):
                    await self._commit(transaction)
        await self._transactions.released(transaction)
        if transaction.open:
            await self._commit_in_a_step(transaction)
        return transaction.statement.result()

    async def _commit_in_a_step(self, transaction: Transaction) -> None:
        """Who dies before it has committed, or has not."""
        query, _ = _statement.get()
        try:
            async with self._stepper.turn(f"commits {query}"):
                await self._commit(transaction)
        finally:
            if transaction.open:
                commit = self._stepper.chance(0.5)
                self._stepper.say(f"has {'' if commit else 'not '}committed {query} at its end")
                await self._transactions.abandon(transaction, commit=commit)

    async def _commit(self, transaction: Transaction) -> None:
        """Raises what happens on the way."""
        faults = self.faults
        if self._fails(faults.lost_at_commit, "loses its connection before the commit"):
            await self._transactions.end(transaction, commit=False)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        if self._fails(faults.serialization, "cannot be serialized"):
            await self._transactions.end(transaction, commit=False)
            raise asyncpg.SerializationError("could not serialize access")
        if _nobody_is_told() and self._fails(faults.failover, "is lost by a failover"):
            self.doubtful.add(_statement.get()[1][0])
            await self._transactions.end(transaction, commit=False)
            return
        await self._transactions.end(transaction, commit=True)
        if self._fails(faults.lost_after, "loses its connection behind the commit"):
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")

    def maybe_fail(self) -> None:
        """Before a statement. Raises what asyncpg would."""
        if self._fails(self.faults.lost_before, "loses its connection before the statement"):
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        if self._fails(self.faults.deadlock, "meets a deadlock"):
            raise asyncpg.DeadlockDetectedError("deadlock detected")

    def _fails(self, share: float, words: str) -> bool:
        """What the world itself does never fails."""
        if share == 0 or current_process.get() is WORLD or not self._stepper.chance(share):
            return False
        self._stepper.say(words)
        return True


def _nobody_is_told() -> bool:
    """The commit of a batch whose request goes on, and of nothing else."""
    query, arguments = _statement.get()
    return query == "upload_commit" and not arguments[7]


def step_recounts(
    monkeypatch: pytest.MonkeyPatch, catalog: SteppedCatalog, stepper: Stepper
) -> None:
    """Every page that a recount reads is a step; its snapshot is held between them."""
    for reader in READERS:
        real = getattr(recount, reader)
        monkeypatch.setattr(recount, reader, _stepped_pages(stepper, catalog, reader, real))


def _stepped_pages(
    stepper: Stepper,
    catalog: SteppedCatalog,
    reader: str,
    real: Callable[..., AsyncGenerator[T, None]],
) -> Callable[..., AsyncGenerator[T, None]]:
    async def pages(*arguments: Any, **named: Any) -> AsyncGenerator[T, None]:
        read = real(*arguments, **named)
        try:
            while True:
                async with stepper.turn(f"reads {reader}"):
                    with translation_door():
                        catalog.maybe_fail()
                    page = await anext(read, None)
                if page is None:
                    return
                yield page
        finally:
            async with stepper.outside():
                await read.aclose()

    return pages
