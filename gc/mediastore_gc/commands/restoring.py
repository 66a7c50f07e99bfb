"""`undelete` brings back what was deleted, `reconcile` follows a restore of the database."""

from typing import Annotated

import typer

from mediastore.collector_errors import AuditFindings, BytesGone
from mediastore_gc import audit_rendering, rendering
from mediastore_gc.commands.command_line import (
    Apply,
    Config,
    Json,
    group,
    in_room,
    parse_target,
    settings_of,
    show,
)
from mediastore_gc.commands.progress_bar import shown
from mediastore_gc.progress import Progress
from mediastore_gc.reconcile import reconcile
from mediastore_gc.room import Room
from mediastore_gc.undeleting import Undeleter

restoring = group()


@restoring.command("undelete")
def undelete_command(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="OBJECT|BLOB", help="An object's id, or a blob's hash: all its objects."
        ),
    ],
    config: Config = None,
    apply: Apply = False,
    as_json: Json = False,
) -> None:
    """Bring objects back: from the trash, from garbage, or by copying doomed keys that no worker
    has claimed to new ones, every byte verified. A dry run unless --apply.
    """

    async def work(room: Room) -> None:
        progress = Progress()
        undeleter = Undeleter(room.catalog, room.store, room.settings.chunking, progress)
        found = await undeleter.look(parse_target(target))
        gone = [each for each in found if each.gone]
        if apply:
            async with shown(progress, quiet=as_json):
                for each in found:
                    if not each.gone:
                        await undeleter.bring_back(each)
        lines = [rendering.recoverable_line(each) for each in found]
        lines.append(
            f"{len(found) - len(gone)} brought back."
            if apply
            else f"This was a dry run and changed nothing; 'undelete {target} --apply' does it."
        )
        value = {"undeleted": apply, "objects": rendering.as_json(found)}
        show(value, lines, as_json=as_json)
        if gone:
            raise BytesGone(f"{len(gone)} of {len(found)} objects cannot come back any more")

    in_room(settings_of(context, config), work)


@restoring.command("reconcile")
def reconcile_command(
    context: typer.Context,
    config: Config = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Mark what is missing, begin a new incarnation.")
    ] = False,
    as_json: Json = False,
) -> None:
    """After a restore of the database: check every chunk row against the store.

    Exit codes: 0 nothing is missing, 40 the report names what is, 41 stopped before the end.
    """

    async def work(room: Room) -> None:
        progress = Progress()
        async with shown(progress, quiet=as_json):
            found = await reconcile(
                room.catalog, room.store, apply=apply, stop=room.stop, progress=progress
            )
        lines = audit_rendering.reconciled_lines(found)
        show(rendering.as_json(found), lines, as_json=as_json)
        if found.bad_records:
            raise AuditFindings(f"{len(found.bad_records)} records of erasures make no sense")
        if found.missing:
            raise AuditFindings(f"{found.missing} chunks are missing or cut short")

    in_room(settings_of(context, config), work)
