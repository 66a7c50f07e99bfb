"""What the auditing commands share: options, the room around their work, report and progress."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from mediastore.clock import SystemClock
from mediastore.settings import Settings, load_settings
from mediastore.telemetry.logs import configure_logs
from mediastore_gc.audit_progress import Progress
from mediastore_gc.rendering import as_json as json_of
from mediastore_gc.room import Room, open_room

Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Settings file (TOML).")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]


def progress_on_terminal() -> Progress:
    """Told on a terminal alone."""
    if not sys.stderr.isatty():
        return Progress(SystemClock())
    return Progress(
        SystemClock(), lambda line: print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
    )


def show(value: object, lines: Iterable[str], as_json: bool) -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if as_json:
        print(json.dumps(json_of(value)))
        return
    for line in lines:
        print(line)


def chosen_settings(context: typer.Context, config: Path | None, **overrides: Any) -> Settings:
    """Settings from the command's own --config, else from the one before the command."""
    settings = load_settings(config if config is not None else context.obj, **overrides)
    configure_logs(settings.log)
    return settings


def in_room(settings: Settings, work: Callable[[Room], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with open_room(settings) as room:
            await work(room)

    asyncio.run(opened())
