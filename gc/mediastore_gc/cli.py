"""The `mediastore-gc` command line: thin commands over the collector.

What goes wrong leaves as one line on standard error and the exit code of its class in errors.py.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from prometheus_client import start_http_server

from mediastore.catalog.collection import pause_collector, resume_collector
from mediastore.clock import SystemClock
from mediastore.errors import ChunkStoreUnavailable, MediastoreError
from mediastore.settings import Settings, load_settings
from mediastore.telemetry.logs import configure_logs
from mediastore_gc import rendering
from mediastore_gc.audit_commands import add_audit_commands
from mediastore_gc.collector import RunCounts
from mediastore_gc.doctor import require_fit_bucket
from mediastore_gc.room import Room, open_room
from mediastore_gc.running import run_repeatedly, run_until_done
from mediastore_gc.safety import CollectionDelays
from mediastore_gc.status import CollectionMetrics, gather_status

app = typer.Typer(
    name="mediastore-gc",
    help="Gives back the space of what nobody needs any more, and proves that it may.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Settings file (TOML).")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
Unsafe = Annotated[
    bool,
    typer.Option("--unsafe-delays", help="Accept delays that are shorter than the safe minimum."),
]
ReviveDelay = Annotated[
    int | None, typer.Option(metavar="SECONDS", help="Instead of collection.revive_delay_seconds.")
]
RecoveryWindow = Annotated[
    int | None,
    typer.Option(metavar="SECONDS", help="Instead of collection.recovery_window_seconds."),
]
RecoveryMargin = Annotated[
    int | None,
    typer.Option(metavar="SECONDS", help="Instead of collection.recovery_margin_seconds."),
]
TrashDelay = Annotated[
    int | None,
    typer.Option(
        metavar="SECONDS", help="Instead of the tenants' policies; needs --unsafe-delays."
    ),
]
ShareMax = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Instead of collection.delete_share_max (0 to 1)."),
]


@app.callback()
def choose_config(context: typer.Context, config: Config = None) -> None:
    """Gives back the space of what nobody needs any more, and proves that it may.

    Settings come from flags, then MEDIASTORE_… environment variables, then the file, then defaults.
    """
    context.obj = config


@app.command("status")
def status_command(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Show what is live, what waits at each stage, the last recount and the last runs."""

    async def work(room: Room) -> None:
        status = await gather_status(room.catalog, room.settings.collection)
        _show(rendering.as_json(status), rendering.status_lines(status), as_json)

    _in_room(_settings(context, config), work)


@app.command("plan")
def plan_command(
    context: typer.Context,
    config: Config = None,
    as_json: Json = False,
    unsafe_delays: Unsafe = False,
    revive_delay: ReviveDelay = None,
    recovery_window: RecoveryWindow = None,
    recovery_margin: RecoveryMargin = None,
    trash_delay: TrashDelay = None,
    delete_share_max: ShareMax = None,
) -> None:
    """Show what a run would do now. Changes nothing."""
    settings = _settings(context, config, delete_share_max=delete_share_max)
    delays = CollectionDelays.from_settings(
        settings.collection,
        revive_seconds=revive_delay,
        recovery_window_seconds=recovery_window,
        recovery_margin_seconds=recovery_margin,
        trash_seconds=trash_delay,
        unsafe=unsafe_delays,
    )
    _in_room(settings, lambda room: _show_plan(room, delays, as_json=as_json))


@app.command("recount")
def recount_command(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Read every reference there is, so that what nobody refers to can be told. Deletes nothing."""

    async def work(room: Room) -> None:
        delays = CollectionDelays.from_settings(room.settings.collection, unsafe=True)
        report = await room.collector(delays).recount()
        if report is None:
            _show({"finished": False}, ["Stopped before the end; nothing was recorded."], as_json)
            return
        line = (
            f"{report.references_read:,} references in {report.manifests_read:,} manifests and in "
            f"uploads; {report.hashes_seen:,} doomed hashes are referred to."
        )
        _show({"finished": True, **rendering.as_json(report)}, [line], as_json)

    _in_room(_settings(context, config), work)


@app.command("run")
def run_command(
    context: typer.Context,
    config: Config = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to do.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Really do it; without, only show the plan.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Pause between passes without --once.")
    ] = 60,
    as_json: Json = False,
    unsafe_delays: Unsafe = False,
    revive_delay: ReviveDelay = None,
    recovery_window: RecoveryWindow = None,
    recovery_margin: RecoveryMargin = None,
    trash_delay: TrashDelay = None,
    delete_share_max: ShareMax = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve /metrics on 127.0.0.1 here.")
    ] = None,
) -> None:
    """Collect: once or until SIGTERM. A dry run unless --delete."""
    settings = _settings(context, config, delete_share_max=delete_share_max)
    delays = CollectionDelays.from_settings(
        settings.collection,
        revive_seconds=revive_delay,
        recovery_window_seconds=recovery_window,
        recovery_margin_seconds=recovery_margin,
        trash_seconds=trash_delay,
        unsafe=unsafe_delays,
    )

    async def work(room: Room) -> None:
        if not delete:
            await _show_plan(room, delays, as_json=as_json)
            return
        await require_fit_bucket(room.settings, SystemClock())
        metrics = CollectionMetrics(room.registry)
        if metrics_port is not None:
            start_http_server(metrics_port, addr="127.0.0.1", registry=room.registry)
        collector = room.collector(delays)
        clock = SystemClock()
        if not once:
            await run_repeatedly(
                collector, delays, clock, interval_seconds=every, stop=room.stop, metrics=metrics
            )
            return
        counts = await run_until_done(collector, delays, clock, stop=room.stop, metrics=metrics)
        _show(rendering.as_json(counts), rendering.counts_lines(counts), as_json)
        _complain_of_refusals(counts)

    _in_room(settings, work)


@app.command("pause")
def pause_command(
    context: typer.Context,
    why: Annotated[str, typer.Argument(help="What others are to be told.")],
    config: Config = None,
) -> None:
    """Let every collector stop behind its batch, until 'resume'."""
    _in_room(_settings(context, config), lambda room: pause_collector(room.catalog, why))
    print("paused")


@app.command("resume")
def resume_command(context: typer.Context, config: Config = None) -> None:
    """Let collectors work again."""
    _in_room(_settings(context, config), lambda room: resume_collector(room.catalog))
    print("resumed")


add_audit_commands(app)


def main() -> None:
    """The entry point that pyproject names."""
    try:
        app()
    except MediastoreError as error:
        print(f"mediastore-gc: {error.detail} [{error.code}]", file=sys.stderr)
        sys.exit(error.exit_code)


async def _show_plan(room: Room, delays: CollectionDelays, *, as_json: bool) -> None:
    plan = await room.collector(delays).plan()
    lines = [*rendering.plan_lines(plan)]
    if plan.to_delete_bytes > plan.allowed_bytes:
        lines.append("That is more than is allowed: such a run stops; see --delete-share-max.")
    lines.append("This was a dry run and changed nothing; 'run --once --delete' does it.")
    _show(rendering.plan_as_json(plan, dry_run=True), lines, as_json)


def _complain_of_refusals(counts: RunCounts) -> None:
    if counts.refused_keys:
        raise ChunkStoreUnavailable(
            f"the store did not delete {counts.refused_keys} keys; they are tried again later, "
            "'mediastore-gc status' counts them"
        )


def _show(value: Any, lines: Iterable[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(value))
        return
    for line in lines:
        print(line)


def _settings(
    context: typer.Context, config: Path | None, *, delete_share_max: float | None = None
) -> Settings:
    """Settings from the command's own --config, else from the one before the command."""
    given = {} if delete_share_max is None else {"delete_share_max": delete_share_max}
    overrides = {"collection": given} if given else {}
    settings = load_settings(config if config is not None else context.obj, **overrides)
    configure_logs(settings.log)
    return settings


def _in_room(settings: Settings, work: Callable[[Room], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with open_room(settings) as room:
            await work(room)

    asyncio.run(opened())
