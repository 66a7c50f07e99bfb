"""What verbs share: their common options, the room around their work, how answers are shown."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from mediastore.collector_errors import CollectorRefused
from mediastore.content.hashing import parse_hash
from mediastore.errors import (
    BadRequest,
    CatalogUnavailable,
    Conflict,
    MediastoreError,
    NotFound,
    every_error,
)
from mediastore.settings import Settings, load_settings
from mediastore.telemetry.logs import configure_logs
from mediastore_gc.room import Room, open_room

Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Settings file (TOML).")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
Apply = Annotated[bool, typer.Option("--apply", help="Really do it; without, only show what.")]
ShareMax = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Instead of collection.delete_share_max (0 to 1)."),
]
_FAMILIES = (MediastoreError, BadRequest, NotFound, Conflict, CatalogUnavailable)


def group() -> typer.Typer:
    """Commands that cli.py adds to its own."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def exit_codes() -> str:
    """What `--help` says of them; the same for every verb, and they never change."""
    kinds: list[type[MediastoreError]] = [*_FAMILIES]
    kinds += [kind for kind in every_error() if issubclass(kind, CollectorRefused)]
    lines = {0: "done, or nothing to do"}
    for kind in kinds:
        lines.setdefault(kind.exit_code, f"{kind.code}: {kind.message().rstrip('.')}")
    shown = "\n".join(f"{code:>3}  {text}" for code, text in sorted(lines.items()))
    return f"Exit codes:\n\n\b\n{shown}"


def settings_of(context: typer.Context, config: Path | None, **overrides: Any) -> Settings:
    """Settings from the command's own --config, else from the one before the command."""
    chosen = config if config is not None else context.find_root().obj
    settings = load_settings(chosen, **overrides)
    configure_logs(settings.log)
    return settings


def given_share(delete_share_max: float | None) -> dict[str, dict[str, float]]:
    """The override of --delete-share-max, for settings_of."""
    if delete_share_max is None:
        return {}
    return {"collection": {"delete_share_max": delete_share_max}}


def in_room(settings: Settings, work: Callable[[Room], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with open_room(settings) as room:
            await work(room)

    asyncio.run(opened())


def show(value: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """The same answer for programs or for people."""
    if as_json:
        print(json.dumps(value), flush=True)  # rounds of a run are read as they come
        return
    for line in lines:
        print(line)


def parse_target(text: str) -> UUID | bytes:
    """An object's id, or the hash of a blob or chunk. Raises BadRequest."""
    with contextlib.suppress(ValueError):
        return parse_hash(text)
    with contextlib.suppress(ValueError):
        return UUID(text)
    raise BadRequest(
        "that is neither an object's id (a UUID) nor a hash (64 lowercase hexadecimal digits)"
    )
