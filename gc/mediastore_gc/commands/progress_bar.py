"""Progress for people: a bar with rate and time left on standard error, if that is a terminal."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.progress import TimeRemainingColumn as TimeLeftColumn
from rich.text import Text

from mediastore.clock import SystemClock
from mediastore_gc.progress import Progress

LOOK_EVERY_SECONDS = 0.2


class RateColumn(ProgressColumn):
    """So many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(unit if speed is None else f"{unit}, {speed:,.0f}/s")


@asynccontextmanager
async def shown(progress: Progress, *, quiet: bool = False) -> AsyncIterator[None]:
    """Show how far `progress` is while the block runs; nothing at all when nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeLeftColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        following = asyncio.create_task(_follow(progress, bar))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _follow(progress: Progress, bar: Bar) -> None:
    clock = SystemClock()
    stage = ""
    task = bar.add_task(progress.stage, total=None, unit="")
    while True:
        if progress.stage != stage:
            stage = progress.stage
            bar.reset(task, total=progress.total, description=stage, unit=progress.unit)
        bar.update(task, completed=progress.done)
        await clock.sleep(LOOK_EVERY_SECONDS)
