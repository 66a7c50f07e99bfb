"""`status` and `explain`: verbs that only look."""

from typing import Annotated

import typer

from mediastore_gc import rendering
from mediastore_gc.commands.command_line import (
    Config,
    Json,
    group,
    in_room,
    parse_target,
    settings_of,
    show,
)
from mediastore_gc.commands.progress_bar import shown
from mediastore_gc.explaining import Explainer
from mediastore_gc.progress import Progress
from mediastore_gc.room import Room
from mediastore_gc.status import gather_status

looking = group()


@looking.command("status")
def status_command(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Show what is live, what is at each stage, what is overdue, when space comes back, and why
    collectors do not run if they do not.
    """

    async def work(room: Room) -> None:
        status = await gather_status(room.catalog, room.store, room.settings.collection)
        show(rendering.as_json(status), rendering.status_lines(status), as_json=as_json)

    in_room(settings_of(context, config), work)


@looking.command("explain")
def explain_command(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="HASH|OBJECT", help="A blob's or chunk's hash, an object's id.")
    ],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Tell why something is kept or when it went: every reference to it, and its timeline.

    For a chunk, every manifest may have to be read.
    """

    async def work(room: Room) -> None:
        progress = Progress()
        explainer = Explainer(room.catalog, room.settings.collection, progress)
        async with shown(progress, quiet=as_json):
            found = await explainer.explain(parse_target(target))
        lines = [line for one in found for line in rendering.explanation_lines(one)]
        show(rendering.as_json(found), lines, as_json=as_json)

    in_room(settings_of(context, config), work)
