"""`mediastore purge …`: what waits to be forgotten by CDNs."""

from typing import Annotated

import typer

from mediastore.catalog.purges import cdn_standings, list_purges, retry_purges
from mediastore.commands.command_line import Config, Json, chosen_settings, show, with_catalog
from mediastore.errors import BadRequest

purge_app = typer.Typer(help="Purges on their way to CDNs.", no_args_is_help=True)

Cdn = Annotated[
    str | None, typer.Option(help="Of this one alone: fastly, cloudflare, cloudfront, webhook.")
]


@purge_app.command("status")
def purge_status(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Show what waits for each CDN that a process was told of."""
    show(with_catalog(chosen_settings(context, config), cdn_standings), as_json)


@purge_app.command("list")
def purge_list(
    context: typer.Context,
    cdn: Cdn = None,
    parked: Annotated[
        bool, typer.Option("--parked", help="Only those that are tried no more.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, at most.")] = 100,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show purges that were not sent twice yet, the oldest first."""
    found = with_catalog(
        chosen_settings(context, config),
        lambda catalog: list_purges(catalog, cdn=cdn, parked=parked, limit=limit),
    )
    show(found, as_json)


@purge_app.command("retry")
def purge_retry(
    context: typer.Context,
    cdn: Cdn = None,
    all_parked: Annotated[bool, typer.Option("--all", help="Parked ones of every CDN.")] = False,
    config: Config = None,
) -> None:
    """Try parked purges again: now, and as often as if they were new."""
    if cdn is None and not all_parked:
        raise BadRequest("name a --cdn, or --all")
    count = with_catalog(
        chosen_settings(context, config), lambda catalog: retry_purges(catalog, cdn=cdn)
    )
    print(f"{count} to be tried again")
