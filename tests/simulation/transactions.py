"""The transactions of a simulation: open ones, and the one statement that waits for them.

A statement that needs what an open transaction holds is parked until that has ended. One is parked
at a time; another that would have to wait is undone, and begins again. So the outcome never depends
on who is quicker.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from tests.simulation.processes import WORLD
from tests.simulation.stepping import Stepper

Work = Callable[[Any], Awaitable[Any]]


class Transaction:
    """One statement on a connection of its own. `work` is the statement; `ended` is set when a
    parked one goes on; `commits` says what becomes of one that nobody waits for any more.
    """

    def __init__(self, connection: Any, work: Work) -> None:
        self.connection = connection
        self.pid: int = connection.get_server_pid()
        self.open = True
        self.released: asyncio.Future[None] | None = None
        self.commits: bool | None = None
        self._transaction = connection.transaction()
        self._work = work
        self.statement: asyncio.Task[Any]

    async def begin(self) -> None:
        await self._transaction.start()
        self.statement = WORLD.spawn(_run(self._work, self.connection))

    async def end(self, *, commit: bool) -> None:
        if commit:
            await self._transaction.commit()
        else:
            await self._transaction.rollback()

    @property
    def failed(self) -> bool:
        return self.statement.exception() is not None


class Transactions:
    """All that is open. `watch` is a connection that looks at the others."""

    def __init__(
        self, pool: asyncpg.Pool, watch: "asyncpg.Connection[Any]", stepper: Stepper
    ) -> None:
        self._pool = pool
        self._watch = watch
        self._stepper = stepper
        self._open: dict[int, Transaction] = {}
        self._parked: Transaction | None = None

    async def run(self, work: Work) -> Transaction | None:
        """Run a statement; it has ended, or is parked (`released` is set). None: it would have to
        wait as a second one, and was undone.
        """
        transaction = Transaction(await self._pool.acquire(), work)
        await transaction.begin()
        self._open[transaction.pid] = transaction
        if not await self._is_blocked(transaction):
            return transaction
        if self._parked is not None:
            await self._watch.execute("SELECT pg_cancel_backend($1)", transaction.pid)
            await asyncio.wait([transaction.statement])
            await self.end(transaction, commit=False)
            return None
        transaction.released = self._stepper.loop.create_future()
        self._parked = transaction
        return transaction

    async def released(self, transaction: Transaction) -> None:
        """Wait until a parked statement has ended. Whoever dies meanwhile leaves a statement that
        the server goes on with; it commits, or does not.
        """
        if transaction.released is None:
            return
        try:
            await asyncio.shield(transaction.released)
        except asyncio.CancelledError:
            transaction.commits = self._stepper.chance(0.5)
            if transaction.released.done() and transaction.open:
                await self.abandon(transaction, commit=transaction.commits)
            raise

    async def abandon(self, transaction: Transaction, *, commit: bool) -> None:
        """End what its owner does not end any more; without a turn, and to the end, even if the
        owner is cancelled once more.
        """

        async def end() -> None:
            async with self._stepper.outside():
                await self.end(transaction, commit=commit and not transaction.failed)

        await asyncio.shield(WORLD.spawn(end()))

    async def end(self, transaction: Transaction, *, commit: bool) -> None:
        """Commit or roll back; whoever waited for that goes on."""
        transaction.open = False
        transaction.statement.exception()
        await transaction.end(commit=commit)
        del self._open[transaction.pid]
        await self._pool.release(transaction.connection)
        self._stepper.ended += 1
        parked = self._parked
        if parked is None or await self._is_blocked(parked):
            return
        self._parked = None
        if parked.failed or parked.commits is not None:
            await self.end(parked, commit=bool(parked.commits) and not parked.failed)
        assert parked.released is not None
        parked.released.set_result(None)

    async def _is_blocked(self, transaction: Transaction) -> bool:
        """Ask until the statement has ended, or waits for a transaction that is open here."""
        while not transaction.statement.done():
            if len(self._open) == 1:
                await asyncio.wait([transaction.statement])
                continue
            blocking = await self._watch.fetchval("SELECT pg_blocking_pids($1)", transaction.pid)
            if not self._open.keys().isdisjoint(blocking):
                return True
        return False


async def _run(work: Work, connection: Any) -> Any:
    return await work(connection)
