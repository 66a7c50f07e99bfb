"""The memory budget: what bodies and chunks in flight may hold in this process, all of them
together.

First come, first served: a large request at the head is not starved by small ones behind it.
Holders that can let go (flush a partial chunk, spool to disk) say so with `Reservation.sheddable`;
when somebody has to wait, the largest of them are asked to, so that nobody waits for a body that
never goes on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mediastore.errors import Overloaded


@dataclass(slots=True)
class _Waiter:
    size: int
    granted: asyncio.Future[None]


class MemoryBudget:
    """Counts bytes; it allocates nothing itself."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.in_use_bytes = 0
        self.in_use_max_bytes = 0
        self._waiters: deque[_Waiter] = deque()
        self._sheddable: dict[Reservation, Callable[[], None]] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait for memory."""
        return len(self._waiters)

    @property
    def starved(self) -> bool:
        """Somebody waits: let go of what you can."""
        return bool(self._waiters)

    def try_acquire(self, size: int) -> bool:
        """Take `size` bytes if they are free and nobody waits for them."""
        if self._waiters or self.in_use_bytes + size > self.limit_bytes:
            return False
        self._take(size)
        return True

    async def acquire(self, size: int, *, timeout_seconds: float) -> None:
        """Take `size` bytes, waiting in turn. Raises Overloaded after `timeout_seconds`.

        Raises ValueError for more than the whole budget: that could never be granted.
        """
        if size > self.limit_bytes:
            raise ValueError(f"{size} bytes are more than the whole memory budget")
        if self.try_acquire(size):
            return
        waiter = _Waiter(size, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._shed(size)
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiter.granted
        except BaseException as error:
            self._withdraw(waiter)
            if isinstance(error, TimeoutError):
                raise Overloaded("no memory for this body came free in time") from None
            raise

    def release(self, size: int) -> None:
        """Give back `size` bytes. Raises ValueError when more is given back than was taken."""
        if size > self.in_use_bytes:
            raise ValueError("more memory given back than taken")
        self.in_use_bytes -= size
        self._grant()

    def _shed(self, size: int) -> None:
        """Ask the largest sheddable holders to let go of `size` bytes between them."""
        for reservation in sorted(self._sheddable, key=lambda item: -item.held_bytes):
            if size <= 0:
                break
            size -= reservation.held_bytes
            self._sheddable.pop(reservation)()

    def _withdraw(self, waiter: _Waiter) -> None:
        if waiter.granted.done() and not waiter.granted.cancelled():
            self.release(waiter.size)  # granted in the moment it gave up
        elif waiter in self._waiters:
            self._waiters.remove(waiter)
            self._grant()

    def _grant(self) -> None:
        while self._waiters and self.in_use_bytes + self._waiters[0].size <= self.limit_bytes:
            waiter = self._waiters.popleft()
            if not waiter.granted.done():  # cancelled, but its task has not run yet
                self._take(waiter.size)
                waiter.granted.set_result(None)

    def _take(self, size: int) -> None:
        self.in_use_bytes += size
        self.in_use_max_bytes = max(self.in_use_max_bytes, self.in_use_bytes)


class Reservation:
    """Memory that one body holds; everything is given back by `close()`, whatever happened."""

    def __init__(self, budget: MemoryBudget, timeout_seconds: float) -> None:
        self._budget = budget
        self._timeout_seconds = timeout_seconds
        self.held_bytes = 0

    @property
    def starved(self) -> bool:
        return self._budget.starved

    @contextmanager
    def sheddable(self, let_go: Callable[[], None]) -> Iterator[None]:
        """While inside, `let_go` is called (once) when others need what this reservation holds."""
        self._budget._sheddable[self] = let_go
        try:
            yield
        finally:
            self._budget._sheddable.pop(self, None)

    def try_grow(self, size: int) -> bool:
        taken = self._budget.try_acquire(size)
        if taken:
            self.held_bytes += size
        return taken

    async def grow(self, size: int) -> None:
        """Raises Overloaded."""
        await self._budget.acquire(size, timeout_seconds=self._timeout_seconds)
        self.held_bytes += size

    def take_from(self, other: "Reservation", size: int) -> None:
        """Hold what another reservation held: the bytes have changed hands."""
        other.held_bytes -= size
        self.held_bytes += size

    def shrink(self, size: int) -> None:
        self._budget.release(size)
        self.held_bytes -= size

    def close(self) -> None:
        self._budget.release(self.held_bytes)
        self.held_bytes = 0
