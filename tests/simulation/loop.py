"""An event loop for simulations: time moves when it is moved, and threads' work is done at once.

A task that is not waiting for something real is waiting for its turn, for another task or for a
time. So the loop knows when nothing more happens by itself (`idle`), whatever the machine is busy
with; no run depends on how fast anything was.
"""

import asyncio
import selectors
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
TICK_SECONDS = 1e-9


class NobodyCanMove(Exception):
    """Everybody waits for somebody else, and for no time."""


class SteppedLoop(asyncio.SelectorEventLoop):
    """`idle` and `pass_time` are for one driver; `outside` is around every real input and output
    that is not waited for by the driver itself.
    """

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._outside = 0
        self._timers = 0
        self._idle: asyncio.Future[None] | None = None
        self._passing: asyncio.Future[None] | None = None
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.elapsed

    def call_at(  # type: ignore[override]
        self, when: float, *arguments: Any, **named: Any
    ) -> asyncio.TimerHandle:
        """Who is due at the same time is woken in the order of asking: a heap has none."""
        self._timers += 1
        return super().call_at(when + self._timers * TICK_SECONDS, *arguments, **named)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (it is the caller's)
            done.set_exception(error)
        return done

    async def idle(self) -> None:
        """Wait until nothing happens any more by itself."""
        self._idle = self.create_future()
        await self._idle

    async def pass_time(self) -> None:
        """Go to the next moment that somebody waits for. Raises NobodyCanMove."""
        self._passing = self.create_future()
        await self._passing

    @contextmanager
    def outside(self) -> Iterator[None]:
        """While inside, somebody waits for the database."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    def nothing_is_ready(self, timeout: float | None) -> bool:
        """Asked when every task waits; `timeout` is to the next timer. False: wait for real."""
        if self._outside:
            return False
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.set_result(None)
            return True
        if self._passing is not None:
            passing, self._passing = self._passing, None
            if timeout is None:
                passing.set_exception(NobodyCanMove())
            else:
                self.elapsed += timeout
                passing.set_result(None)
            return True
        return False


class _Selector(selectors.DefaultSelector):
    """Asks the loop before it waits."""

    def __init__(self, loop: SteppedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Sequence[tuple[selectors.SelectorKey, int]]:  # type: ignore[override]
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if self._loop.nothing_is_ready(timeout):
            return []
        return super().select(None)
