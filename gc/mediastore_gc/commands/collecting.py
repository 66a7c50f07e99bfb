"""`plan`, `run` and `recount`: verbs of the collection itself."""

from typing import Annotated

import typer

from mediastore.clock import SystemClock
from mediastore.errors import BadRequest, ChunkStoreUnavailable
from mediastore_gc import rendering
from mediastore_gc.collection_metrics import CollectionMetrics
from mediastore_gc.commands.command_line import (
    Config,
    Json,
    ShareMax,
    given_share,
    group,
    in_room,
    settings_of,
    show,
)
from mediastore_gc.commands.progress_bar import shown
from mediastore_gc.doctor import require_fit_bucket
from mediastore_gc.exposing import metrics_listening
from mediastore_gc.limits import WORKERS, WORKERS_MAX, RunLimits
from mediastore_gc.plan_details import plan_details
from mediastore_gc.progress import Progress
from mediastore_gc.room import Room
from mediastore_gc.run_counts import RunCounts
from mediastore_gc.running import run_repeatedly, run_until_done
from mediastore_gc.safety import CollectionDelays
from mediastore_gc.status import gather_status

collecting = group()

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


@collecting.command("plan")
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
    """Show what a run would do now, by tenant and by age, and its requests. Changes nothing."""
    settings = settings_of(context, config, **given_share(delete_share_max))
    delays = CollectionDelays.from_settings(
        settings.collection,
        revive_seconds=revive_delay,
        recovery_window_seconds=recovery_window,
        recovery_margin_seconds=recovery_margin,
        trash_seconds=trash_delay,
        unsafe=unsafe_delays,
    )
    in_room(settings, lambda room: _show_plan(room, delays, as_json=as_json))


@collecting.command("run")
def run_command(
    context: typer.Context,
    config: Config = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to do.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until SIGTERM, as without --once.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Really do it; without, only show the plan.")
    ] = False,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, metavar="BYTES", help="Delete no more than this.")
    ] = None,
    max_objects: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="COUNT",
            help="Take no more objects from the trash, and delete no more keys, than this.",
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Begin no batch after this; a recount is finished."
        ),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, metavar="KEYS", help="Delete so many keys a second.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=WORKERS_MAX, help="Batches at once in this process.")
    ] = WORKERS,
    every: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Pause between rounds without --once.")
    ] = 60,
    as_json: Json = False,
    unsafe_delays: Unsafe = False,
    revive_delay: ReviveDelay = None,
    recovery_window: RecoveryWindow = None,
    recovery_margin: RecoveryMargin = None,
    trash_delay: TrashDelay = None,
    delete_share_max: ShareMax = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve /metrics here; 0: a free port.")
    ] = None,
    metrics_host: Annotated[str | None, typer.Option(help="Instead of http.metrics_host.")] = None,
) -> None:
    """Collect: once, or in rounds until SIGTERM. A dry run unless --delete.

    Limits hold for one run with --once, else for each round. With --json the counts of a run, or of
    each round, are one line.
    """
    if metrics_host is not None and metrics_port is None:
        raise BadRequest("--metrics-host says where --metrics-port is: say that too")
    if once and watch:
        raise BadRequest("--once and --watch exclude each other")
    settings = settings_of(context, config, **given_share(delete_share_max))
    delays = CollectionDelays.from_settings(
        settings.collection,
        revive_seconds=revive_delay,
        recovery_window_seconds=recovery_window,
        recovery_margin_seconds=recovery_margin,
        trash_seconds=trash_delay,
        unsafe=unsafe_delays,
    )
    limits = RunLimits(max_bytes, max_objects, max_seconds, rate, workers)

    async def work(room: Room) -> None:
        if not delete:
            await _show_plan(room, delays, as_json=as_json)
            return
        await require_fit_bucket(room.settings, SystemClock())
        with metrics_listening(
            room.registry, metrics_host or settings.http.metrics_host, metrics_port
        ):
            await collect(room)

    async def collect(room: Room) -> None:
        metrics = CollectionMetrics(room.registry)
        progress = Progress()
        collector = room.collector(delays, limits=limits, progress=progress)
        clock = SystemClock()
        if not once:
            await run_repeatedly(
                collector,
                delays,
                clock,
                interval_seconds=every,
                stop=room.stop,
                metrics=metrics,
                look=lambda: gather_status(room.catalog, room.store, settings.collection),
                report=lambda counts: show(rendering.as_json(counts), (), as_json=as_json),
            )
            return
        async with shown(progress, quiet=as_json):
            counts = await run_until_done(collector, delays, clock, stop=room.stop, metrics=metrics)
        show(rendering.as_json(counts), rendering.counts_lines(counts), as_json=as_json)
        _complain_of_refusals(counts)

    in_room(settings, work)


@collecting.command("recount")
def recount_command(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Read every reference there is, so that what nobody refers to can be told. Deletes nothing."""

    async def work(room: Room) -> None:
        progress = Progress()
        delays = CollectionDelays.from_settings(room.settings.collection, unsafe=True)
        async with shown(progress, quiet=as_json):
            report = await room.collector(delays, progress=progress).recount()
        if report is None:
            line = "Stopped before the end; nothing was recorded."
            show({"finished": False}, [line], as_json=as_json)
            return
        line = (
            f"{report.references_read:,} references in {report.manifests_read:,} manifests and in "
            f"uploads; {report.hashes_seen:,} doomed hashes are referred to."
        )
        show({"finished": True, **rendering.as_json(report)}, [line], as_json=as_json)

    in_room(settings_of(context, config), work)


async def _show_plan(room: Room, delays: CollectionDelays, *, as_json: bool) -> None:
    plan = await room.collector(delays).plan()
    batch_keys = room.settings.collection.batch_keys
    details = await plan_details(room.catalog, plan, delays, batch_keys=batch_keys)
    lines = [*rendering.plan_lines(plan), *rendering.details_lines(details)]
    if plan.to_delete_bytes > plan.allowed_bytes:
        lines.append("That is more than is allowed: such a run stops; see --delete-share-max.")
    lines.append("This was a dry run and changed nothing; 'run --once --delete' does it.")
    value = {**rendering.plan_as_json(plan, dry_run=True), **rendering.as_json(details)}
    show(value, lines, as_json=as_json)


def _complain_of_refusals(counts: RunCounts) -> None:
    if counts.refused_keys:
        raise ChunkStoreUnavailable(
            f"the store did not delete {counts.refused_keys} keys; they are tried again later, "
            "'mediastore-gc status' counts them"
        )
