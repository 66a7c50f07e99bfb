"""`pause`, `resume` and `hold`: verbs that stop collectors, or keep what is somebody's."""

from typing import Annotated
from uuid import UUID

import typer

from mediastore.catalog.collection import pause_collector, resume_collector
from mediastore.catalog.holds import add_hold, list_holds, remove_hold
from mediastore.errors import BadRequest, NotFound
from mediastore_gc import rendering
from mediastore_gc.commands.command_line import (
    Apply,
    Config,
    Json,
    group,
    in_room,
    settings_of,
    show,
)
from mediastore_gc.room import Room

brakes = group()
holding = typer.Typer(
    help="Legal holds: nothing held is removed from the trash or any later stage.",
    no_args_is_help=True,
)
brakes.add_typer(holding, name="hold")


@brakes.command("pause")
def pause_command(
    context: typer.Context,
    said: Annotated[str | None, typer.Argument(metavar="[WHY]", help="As --why.")] = None,
    why: Annotated[str | None, typer.Option(metavar="TEXT", help="What others are told.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let every collector stop behind its batch, until 'resume'."""
    reason = why or said
    if not reason:
        raise BadRequest("say --why: others will want to know")

    async def work(room: Room) -> None:
        await pause_collector(room.catalog, reason)
        show({"paused": True, "why": reason}, ["paused"], as_json=as_json)

    in_room(settings_of(context, config), work)


@brakes.command("resume")
def resume_command(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Let collectors work again."""

    async def work(room: Room) -> None:
        await resume_collector(room.catalog)
        show({"paused": False}, ["resumed"], as_json=as_json)

    in_room(settings_of(context, config), work)


@holding.command("add")
def hold_add_command(
    context: typer.Context,
    why: Annotated[str, typer.Option(metavar="TEXT", help="What others are told.")],
    tenant: Annotated[str | None, typer.Option(help="Everything of this tenant.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's, of --tenant.")] = None,
    object_: Annotated[
        UUID | None, typer.Option("--object", help="One object, live, deleted or purged.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Keep what is an object's, an owner's or a tenant's. At once, for it deletes nothing."""
    if (object_ is None) == (tenant is None) or (owner is not None and tenant is None):
        raise BadRequest("say --object, or --tenant, or --tenant and --owner")

    async def work(room: Room) -> None:
        added = await add_hold(room.catalog, tenant=tenant, owner=owner, object_=object_, why=why)
        lines = [f"Hold {added.hold}; it keeps {added.keys:,} chunks of what was removed before."]
        if added.claimed:
            lines.append(
                f"{added.claimed:,} of them were being deleted already: too late for those."
            )
        show(rendering.as_json(added), lines, as_json=as_json)

    in_room(settings_of(context, config), work)


@holding.command("list")
def hold_list_command(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Show every hold, the oldest first."""

    async def work(room: Room) -> None:
        holds = await list_holds(room.catalog)
        lines = [rendering.hold_line(hold) for hold in holds] or ["No holds."]
        show(rendering.as_json(holds), lines, as_json=as_json)

    in_room(settings_of(context, config), work)


@holding.command("remove")
def hold_remove_command(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="HOLD", help="Its number, of 'hold list'.")],
    config: Config = None,
    apply: Apply = False,
    as_json: Json = False,
) -> None:
    """Let go of what a hold keeps: what is past its delays may then go in the next run."""

    async def work(room: Room) -> None:
        hold = next((each for each in await list_holds(room.catalog) if each.id == number), None)
        if hold is None:
            raise NotFound(f"there is no hold {number}")
        if apply:
            await remove_hold(room.catalog, number)
        last = (
            "Removed."
            if apply
            else f"This was a dry run; 'hold remove {number} --apply' removes it."
        )
        value = {"removed": apply, "hold": rendering.as_json(hold)}
        show(value, [rendering.hold_line(hold), last], as_json=as_json)

    in_room(settings_of(context, config), work)
