"""The clocks of a simulation: the true one, the database's, and one of each process."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from tests.collection_world import START, MovedClock
from tests.simulation.loop import SteppedLoop


class TrueClock(MovedClock):
    """The loop's time, and the database's clock, which is `database_off_seconds` away from it."""

    def __init__(self, connection: "asyncpg.Connection[Any]", loop: SteppedLoop) -> None:
        super().__init__(connection)
        self._loop = loop
        self.database_off_seconds = 0.0
        self.database_latest = START

    async def follow(self) -> None:
        """Let the database know what time it is."""
        self.database_latest = max(self.database_latest, self.database_now())
        await self.set_database(self.database_now())

    async def advance(self, seconds: float) -> None:
        self._loop.elapsed += seconds
        await self.follow()

    def database_now(self) -> datetime:
        return self.now() + timedelta(seconds=self.database_off_seconds)

    def monotonic(self) -> float:
        return self._loop.elapsed

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.elapsed)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ProcessClock:
    """A host's clock, some seconds off."""

    def __init__(self, true: TrueClock, off_seconds: float = 0.0) -> None:
        self._true = true
        self._off_seconds = off_seconds

    def monotonic(self) -> float:
        return self._true.monotonic()

    def now(self) -> datetime:
        return self._true.now() + timedelta(seconds=self._off_seconds)

    async def sleep(self, seconds: float) -> None:
        await self._true.sleep(seconds)
