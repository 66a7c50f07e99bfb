"""The only door to time for Python code; every component takes a Clock, tests pass a fake one.

Delays that decide about bytes (trash, revive delay, recovery window) never use this clock:
they are measured by the database's own (`catalog_clock()` in the migrations, INV-6).
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What components may ask about time."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back. For timeouts and rates."""

    def now(self) -> datetime:
        """Wall time, timezone-aware UTC. For headers and logs, never for deletion."""

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling task."""


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
