"""The memory budget: what bodies and chunks in flight may hold in this process, all of them
together.

First come, first served: a large request at the head is not starved by small ones behind it. Bodies
that come in leave a share to everything else and wait behind it, so that reads do not slow down
when uploads have filled their part.
Holders that can let go (flush a partial chunk, spool to disk) say so with `Reservation.sheddable`;
when somebody has to wait, the largest of them are asked to, so that nobody waits for a body that
never goes on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mediastore.buffers import SpareBuffers
from mediastore.errors import Overloaded


@dataclass(slots=True)
class _Waiter:
    size: int
    body: bool
    granted: asyncio.Future[None]


class MemoryBudget:
    """Counts bytes; it allocates nothing itself. `spare`: buffers for those who may hold some."""

    def __init__(self, limit_bytes: int, *, reads_share: float = 0) -> None:
        """`reads_share` of it is never given to bodies."""
        self.spare = SpareBuffers()
        self.limit_bytes = limit_bytes
        self.bodies_limit_bytes = limit_bytes - int(limit_bytes * reads_share)
        self.in_use_bytes = 0
        self.in_use_max_bytes = 0
        self.bodies_in_use_bytes = 0
        self._reads: deque[_Waiter] = deque()
        self._bodies: deque[_Waiter] = deque()
        self._sheddable: dict[Reservation, Callable[[], None]] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait for memory."""
        return len(self._reads) + len(self._bodies)

    @property
    def roomy(self) -> bool:
        """Less than half is in use: who holds a little more than is counted does no harm."""
        return 2 * self.in_use_bytes < self.limit_bytes

    @property
    def starved(self) -> bool:
        """Somebody waits: let go of what you can."""
        return bool(self._reads or self._bodies)

    def try_acquire(self, size: int, *, body: bool = False) -> bool:
        """Take `size` bytes if they are free and nobody waits for them who comes first."""
        if self._reads or (body and self._bodies) or not self._fits(size, body):
            return False
        self._take(size, body)
        return True

    async def acquire(self, size: int, *, timeout_seconds: float, body: bool = False) -> None:
        """Take `size` bytes, waiting in turn. Raises Overloaded after `timeout_seconds`.

        Raises ValueError for more than the whole budget: that could never be granted.
        """
        if size > (self.bodies_limit_bytes if body else self.limit_bytes):
            raise ValueError(f"{size} bytes are more than the whole memory budget")
        if self.try_acquire(size, body=body):
            return
        waiter = _Waiter(size, body, asyncio.get_running_loop().create_future())
        self._queue(waiter).append(waiter)
        self._shed(size)
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiter.granted
        except BaseException as error:
            self._withdraw(waiter)
            if isinstance(error, TimeoutError):
                raise Overloaded("no memory for this body came free in time") from None
            raise

    def release(self, size: int, *, body: bool = False) -> None:
        """Give back `size` bytes. Raises ValueError when more is given back than was taken."""
        if size > (self.bodies_in_use_bytes if body else self.in_use_bytes):
            raise ValueError("more memory given back than taken")
        self.in_use_bytes -= size
        if body:
            self.bodies_in_use_bytes -= size
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
            self.release(waiter.size, body=waiter.body)  # granted in the moment it gave up
        elif waiter in self._queue(waiter):
            self._queue(waiter).remove(waiter)
            self._grant()

    def _grant(self) -> None:
        for queue in (self._reads, self._bodies):
            while queue and self._fits(queue[0].size, queue[0].body):
                waiter = queue.popleft()
                if not waiter.granted.done():  # cancelled, but its task has not run yet
                    self._take(waiter.size, waiter.body)
                    waiter.granted.set_result(None)
            if queue:
                return

    def _queue(self, waiter: _Waiter) -> deque[_Waiter]:
        return self._bodies if waiter.body else self._reads

    def _fits(self, size: int, body: bool) -> bool:
        if self.in_use_bytes + size > self.limit_bytes:
            return False
        return not body or self.bodies_in_use_bytes + size <= self.bodies_limit_bytes

    def _take(self, size: int, body: bool) -> None:
        self.in_use_bytes += size
        self.in_use_max_bytes = max(self.in_use_max_bytes, self.in_use_bytes)
        if body:
            self.bodies_in_use_bytes += size


class Reservation:
    """Memory that one body holds; everything is given back by `close()`, whatever happened."""

    def __init__(self, budget: MemoryBudget, timeout_seconds: float, *, body: bool = False) -> None:
        self._budget = budget
        self._timeout_seconds = timeout_seconds
        self._body = body
        self.held_bytes = 0

    @property
    def starved(self) -> bool:
        return self._budget.starved

    @property
    def roomy(self) -> bool:
        return self._budget.roomy

    @property
    def spare(self) -> SpareBuffers:
        return self._budget.spare

    @contextmanager
    def sheddable(self, let_go: Callable[[], None]) -> Iterator[None]:
        """While inside, `let_go` is called (once) when others need what this reservation holds."""
        self._budget._sheddable[self] = let_go
        try:
            yield
        finally:
            self._budget._sheddable.pop(self, None)

    def try_grow(self, size: int) -> bool:
        taken = self._budget.try_acquire(size, body=self._body)
        if taken:
            self.held_bytes += size
        return taken

    async def grow(self, size: int) -> None:
        """Raises Overloaded."""
        await self._budget.acquire(size, timeout_seconds=self._timeout_seconds, body=self._body)
        self.held_bytes += size

    def take_from(self, other: "Reservation", size: int) -> None:
        """Hold what another reservation held: the bytes have changed hands."""
        other.held_bytes -= size
        self.held_bytes += size

    def shrink(self, size: int) -> None:
        self._budget.release(size, body=self._body)
        self.held_bytes -= size

    def close(self) -> None:
        self._budget.release(self.held_bytes, body=self._body)
        self.held_bytes = 0
