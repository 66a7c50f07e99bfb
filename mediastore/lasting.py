"""Work that lasts as long as the process: sweeps, listeners, loops.

Each expects what it knows can fail. What it does not expect is logged, and it begins again after a
pause: without it the process would go on and look well, while uploads are no longer finished.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from mediastore.clock import Clock

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 5.0
Work = Callable[[], Awaitable[None]]


@asynccontextmanager
async def lasting(clock: Clock, *works: Work) -> AsyncIterator[None]:
    """While inside, all of them are under way; they have ended when this is left."""
    tasks = [asyncio.create_task(_again_and_again(clock, work)) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _again_and_again(clock: Clock, work: Work) -> None:
    while True:
        try:
            await work()
        except Exception:
            log.exception("lasting_work_crashed", work=getattr(work, "__qualname__", repr(work)))
        await clock.sleep(PAUSE_SECONDS)
