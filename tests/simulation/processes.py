"""Simulated processes: what runs in one dies with it, at any await, without cleaning up.

A task belongs to the process that made it, and so does whatever it starts. In a dead process
nothing takes a step any more: `finally` and `except` run, but reach neither database nor store, as
if they had never run.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")


class ProcessDied(BaseException):
    """What ends a task of a process that is dead; no handler of errors takes it for one."""


class Unreachable(Exception):
    """The process that was asked has died before it answered."""


class Process:
    """One process. `kill` is for tasks of another one."""

    def __init__(self, name: str, failed: Callable[[BaseException], None] = lambda _: None) -> None:
        """`failed` is told what ends a task of it that nobody waits for, and any other."""
        self.name = name
        self._failed = failed
        self.alive = True
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def check(self) -> None:
        """Raises ProcessDied."""
        if not self.alive:
            raise ProcessDied(self.name)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task of this process."""
        token = current_process.set(self)
        try:
            return asyncio.get_running_loop().create_task(work)
        finally:
            current_process.reset(token)

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """A request to this process, whose end is waited for; it ends when the caller is cancelled.

        Raises Unreachable.
        """
        if not self.alive:
            work.close()
            raise Unreachable(self.name)
        task = self.spawn(work)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        if not self.alive:
            raise Unreachable(self.name)
        return task.result()

    def kill(self) -> None:
        self.alive = False
        for task in list(self._tasks):
            task.cancel()

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)


WORLD = Process("world")
current_process: ContextVar[Process] = ContextVar("process", default=WORLD)


def tasks_belong_to_processes(loop: asyncio.AbstractEventLoop) -> None:
    """From here on. That one ended with its process, or with the simulation, is no news."""

    def make(loop: asyncio.AbstractEventLoop, coro: Any, **named: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **named)
        process = current_process.get()
        if process is not WORLD:
            process.adopt(task)
        return task

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), ProcessDied):
            loop.default_exception_handler(context)

    loop.set_task_factory(make)
    loop.set_exception_handler(tell)
