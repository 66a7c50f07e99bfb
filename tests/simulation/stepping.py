"""Interleaves tasks one call at a time: every SQL statement, commit and store call is a step.

Exactly one call is under way; which one is next is chosen by a seed among the tasks that wait for
their turn. A statement that waits for another transaction's lock is parked: it lets others go on,
and ends when that transaction does. All that a run decides comes from its seed, so the same seed
takes the same steps (`trace`).
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.simulation.loop import SteppedLoop
from tests.simulation.processes import WORLD, Process, ProcessDied, current_process

T = TypeVar("T")
actor: ContextVar[str] = ContextVar("actor", default="?")
OTHERS = 8  # take turns at once, about
# How time passes: mostly by moments, now and then by as much as a delay.
MOMENTS_SECONDS = (0.05, 0.2, 1.0, 1.0, 2.0, 3.0, 10.0)
# Now and then somebody is quicker than all others for a while.
FAVOUR_SHARE, FAVOURED_SHARE = 0.02, 0.8


@dataclass(eq=False)
class Turn:
    """Somebody who waits: for as many transactions to end as `not_before` says, and for that many
    steps.
    """

    actor: str
    label: str
    process: Process
    granted: "asyncio.Future[None]"
    not_before: int = 0
    not_before_step: int = 0


@dataclass
class Stepper:
    """Hands out turns. `settle` is called when a transaction has ended: it looks after what is
    parked. `advance` moves the time.
    """

    seed: int
    time_share: float = 0.15
    """Of all steps, how many move time."""
    choice: random.Random = field(init=False)
    steps: int = 0
    ended: int = 0
    trace: list[str] = field(default_factory=list)
    waiting: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.choice = random.Random(self.seed)
        self.advance: Callable[[float], Awaitable[None]] = _stand_still
        self._returned: asyncio.Future[None] | None = None
        self._over = False
        self._favoured = ""
        self._wire = asyncio.Lock()

    @property
    def loop(self) -> SteppedLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        return loop

    def chance(self, share: float) -> bool:
        return self.choice.random() < share

    def say(self, words: str) -> None:
        """A line of the trace."""
        self._note(f"{_who(current_process.get())}: {words}")

    @asynccontextmanager
    async def turn(
        self, label: str, *, not_before: int = 0, not_before_step: int = 0
    ) -> AsyncIterator[None]:
        """Inside, the caller alone does something. Raises ProcessDied."""
        process = current_process.get()
        process.check()
        self._check()
        granted = self.loop.create_future()
        turn = Turn(_who(process), label, process, granted, not_before, not_before_step)
        self.waiting.append(turn)
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn in self.waiting:
                self.waiting.remove(turn)
            else:
                self._end_step()
            raise
        try:
            process.check()
            yield
        finally:
            self._end_step()

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[None]:
        """What is done to the database without a turn, when a call ends before its time."""
        self._check()
        with self.loop.outside():
            async with self._wire:
                yield

    async def call(self, work: Callable[[], Awaitable[T]], label: str = "calls") -> T:
        """Wait for a turn, then do one call."""
        async with self.turn(label):
            return await work()

    async def pause(self) -> None:
        """A step that does nothing but let others go first."""
        async with self.turn("waits"):
            pass

    async def pauses(self, least: int, most: int) -> None:
        """As long as others take for so many steps each, about."""
        steps = self.choice.randint(least, most) * OTHERS
        if steps:
            async with self.turn("waits", not_before_step=self.steps + steps):
                pass

    async def run(
        self, tasks: Sequence["asyncio.Task[Any]"], between: Callable[[], Awaitable[None]]
    ) -> None:
        """Step until every task is done; `between` is called while nothing else runs.

        When something fails, everybody is cancelled, and nobody gets a turn to clean up.
        """
        try:
            await self.loop.idle()
            while not all(task.done() for task in tasks):
                await self._step(between)
                await self.loop.idle()
                for task in tasks:
                    if task.done():
                        task.result()
        except BaseException:
            for task in tasks:
                task.cancel()
            await self.end()
            raise

    async def end(self) -> None:
        """Nobody gets a turn any more: it is as if all processes had died."""
        self._over = True
        waiting, self.waiting = self.waiting, []
        for turn in waiting:
            if not turn.granted.done():
                turn.granted.set_exception(ProcessDied("the simulation is over"))
        await self.loop.idle()

    def _check(self) -> None:
        if self._over:
            raise ProcessDied("the simulation is over")

    async def _step(self, between: Callable[[], Awaitable[None]]) -> None:
        await between()
        self.steps += 1
        ready = [turn for turn in self.waiting if self._may_go_on(turn)]
        if not self.waiting:
            before = self.loop.elapsed
            await self.loop.pass_time()
            await self.advance(self.loop.elapsed - before)
            return
        if not ready or self.chance(self.time_share):
            await self._pass_time()
            return
        if self.chance(FAVOUR_SHARE):
            self._favoured = self.choice.choice(ready).actor
        favoured = [turn for turn in ready if turn.actor == self._favoured]
        if favoured and self.chance(FAVOURED_SHARE):
            ready = favoured
        turn = self.choice.choice(ready)
        self.waiting.remove(turn)
        self._note(f"{turn.actor}: {turn.label}")
        self._returned = self.loop.create_future()
        turn.granted.set_result(None)
        await self._returned
        self._returned = None

    def _may_go_on(self, turn: Turn) -> bool:
        return turn.not_before <= self.ended and turn.not_before_step <= self.steps

    async def _pass_time(self) -> None:
        seconds = self.choice.choice(MOMENTS_SECONDS)
        self.loop.elapsed += seconds
        await self.advance(seconds)
        self._note("time passes")

    def _note(self, words: str) -> None:
        self.trace.append(f"{self.steps:5} {self.loop.elapsed:9.2f} {words}")

    def _end_step(self) -> None:
        if self._returned is not None and not self._returned.done():
            self._returned.set_result(None)


def _who(process: Process) -> str:
    return actor.get() if process is WORLD else f"{actor.get()} in {process.name}"


async def as_actor(name: str, work: Coroutine[Any, Any, T]) -> T:
    actor.set(name)
    return await work


async def _stand_still(_: float) -> None:
    return None
