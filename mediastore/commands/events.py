"""`mediastore events …`: what waits to be told to tenants' webhooks."""

from typing import Annotated
from uuid import UUID

import typer

from mediastore.catalog.events import list_events, retry_events
from mediastore.commands.command_line import Config, Json, chosen_settings, show, with_catalog
from mediastore.errors import BadRequest, NotFound

events_app = typer.Typer(help="Events on their way to webhooks.", no_args_is_help=True)

Tenant = Annotated[str | None, typer.Option(help="Of this tenant alone.")]


@events_app.command("list")
def events_list(
    context: typer.Context,
    tenant: Tenant = None,
    parked: Annotated[
        bool, typer.Option("--parked", help="Only those that are tried no more.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, at most.")] = 100,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show events that were not delivered yet, the oldest first; delivered ones are gone."""
    found = with_catalog(
        chosen_settings(context, config),
        lambda catalog: list_events(catalog, tenant=tenant, parked=parked, limit=limit),
    )
    show(found, as_json)


@events_app.command("retry")
def events_retry(
    context: typer.Context,
    event: Annotated[UUID | None, typer.Argument(help="Its key; without: all parked ones.")] = None,
    tenant: Tenant = None,
    all_parked: Annotated[
        bool, typer.Option("--all", help="Every parked event of every tenant.")
    ] = False,
    config: Config = None,
) -> None:
    """Try an event, or parked ones, again: now, and as often as if they were new."""
    if event is None and tenant is None and not all_parked:
        raise BadRequest("name an event, a --tenant or --all")
    count = with_catalog(
        chosen_settings(context, config),
        lambda catalog: retry_events(catalog, tenant=tenant, key=event),
    )
    if event is not None and count == 0:
        raise NotFound("there is no such event: it was delivered, or dropped")
    print(f"{count} to be tried again")
