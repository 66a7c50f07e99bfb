"""What commands share: their common options, the catalog around their work, how rows are shown."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.clock import SystemClock
from mediastore.settings import Settings, load_settings
from mediastore.telemetry.logs import configure_logs

T = TypeVar("T")

Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Settings file (TOML).")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]


def chosen_settings(context: typer.Context, config: Path | None, **overrides: Any) -> Settings:
    """Settings from the command's own --config, else from the one before the command."""
    root = context.find_root()
    settings = load_settings(config if config is not None else root.obj, **overrides)
    configure_logs(settings.log)
    return settings


def with_catalog(settings: Settings, work: Callable[[Catalog], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with open_catalog(settings.catalog, SystemClock()) as catalog:
            return await work(catalog)

    return asyncio.run(opened())


def show(rows: list[Any], as_json: bool) -> None:
    """One row a line: JSON for programs, `name=value` pairs for people."""
    values = [row if isinstance(row, Mapping) else asdict(row) for row in rows]
    if as_json:
        print(json.dumps(values, default=str))
        return
    for value in values:
        print("  ".join(f"{name}={'-' if item is None else item}" for name, item in value.items()))
