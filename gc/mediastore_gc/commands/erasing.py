"""`erase`: legal erasure, its list, its receipts."""

import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from mediastore.catalog.erasing import (
    Scope,
    list_erasures,
    require_tenant,
    scope_contents,
    tenant_of,
    unfinished_same,
)
from mediastore.catalog.pool import Catalog
from mediastore.clock import SystemClock
from mediastore.collector_errors import Held
from mediastore.errors import BadRequest, NotFound
from mediastore_gc import erasure_rendering as lines_of
from mediastore_gc.commands.command_line import Config, Json, group, in_room, settings_of, show
from mediastore_gc.commands.progress_bar import shown
from mediastore_gc.erasing import erase_now
from mediastore_gc.erasure_statement import make_statement
from mediastore_gc.progress import Progress
from mediastore_gc.receipts import (
    checked_statement,
    load_public_key,
    load_signing_key,
)
from mediastore_gc.rendering import as_json as json_of
from mediastore_gc.room import Room

LISTED_MAX = 1000
WHY = "legal erasure"

erasing = group()
erase = typer.Typer(
    help="Erase now what the law wants gone; see what was erased; check receipts.",
    invoke_without_command=True,
)
erasing.add_typer(erase, name="erase")

Identity = Annotated[UUID, typer.Argument(metavar="ERASURE", help="Its id, of 'erase list'.")]


@erase.callback()
def erase_command(
    context: typer.Context,
    object_: Annotated[
        UUID | None, typer.Option("--object", help="One object, live, deleted or purged.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Everything of this tenant.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's, of --tenant.")] = None,
    why: Annotated[str, typer.Option(metavar="TEXT", help="Stands in the receipt.")] = WHY,
    yes: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The id or name once more, instead of typing it."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Erase an object, an owner or a tenant: past every delay, but not past a recount.

    Nobody can read it once this returns; its bytes go with 'run --delete', after a recount that is
    shared with other erasures and at most a day away. Asks for the name to be typed.
    """
    if context.invoked_subcommand is not None:
        return
    if (object_ is None) == (tenant is None) or (owner is not None and tenant is None):
        raise BadRequest("say --object, or --tenant, or --tenant and --owner")
    settings = settings_of(context, config)

    async def work(room: Room) -> None:
        load_signing_key(settings.collection.erasure_key_file)
        scope = await _scope(room.catalog, tenant, owner, object_)
        contents = await scope_contents(room.catalog, scope)
        if contents.is_empty and await unfinished_same(room.catalog, scope) is None:
            raise NotFound(f"there is nothing of {scope.name}")
        if contents.hold is not None:
            raise Held(f"hold {contents.hold} keeps it: {contents.hold_why}. Remove it first")
        lines = [*lines_of.contents_lines(scope, contents)]
        value = {"erased": False, "found": json_of(contents)}
        if not as_json:
            show(value, lines, as_json=False)
        if not _is_confirmed(scope, yes, may_ask=not as_json):
            last = f"This was a dry run and changed nothing; '--yes {scope.name}' erases it."
            show(value, [last], as_json=as_json)
            return
        progress = Progress()
        async with shown(progress, quiet=as_json):
            erasure = await erase_now(
                room.catalog,
                room.store,
                SystemClock(),
                scope,
                why,
                skew_max_seconds=settings.collection.clock_skew_max_seconds,
                progress=progress,
            )
        last = f"'erase receipt {erasure.id}' tells when it is complete, signed."
        show(
            {**value, "erased": True, "erasure": json_of(erasure)},
            [*lines_of.erasure_lines(erasure), last],
            as_json=as_json,
        )

    in_room(settings, work)


@erase.command("list")
def erase_list_command(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Complete ones as well.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the erasures under way, the oldest first."""

    async def work(room: Room) -> None:
        found = await list_erasures(room.catalog, unfinished=not every, limit=LISTED_MAX)
        lines = [line for one in found for line in lines_of.erasure_lines(one)]
        show(json_of(found), lines or ["No erasures."], as_json=as_json)

    in_room(settings_of(context, config), work)


@erase.command("receipt")
def erase_receipt_command(
    context: typer.Context,
    id_: Identity,
    config: Config = None,
) -> None:
    """Print an erasure's signed receipt, as JSON. Says "complete" once its bytes are gone."""
    settings = settings_of(context, config)

    async def work(room: Room) -> None:
        key = load_signing_key(settings.collection.erasure_key_file)
        statement = await make_statement(room.catalog, settings.collection, id_)
        show(key.sign(statement), [], as_json=True)

    in_room(settings, work)


@erase.command("verify")
def erase_verify_command(
    context: typer.Context,
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="The receipt's file.")],
    public_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The signer's public key (PEM), not the settings' own."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check a receipt's signature. Needs neither database nor store."""
    if public_key is None:
        settings = settings_of(context, config)
        key = load_signing_key(settings.collection.erasure_key_file).public
    else:
        key = load_public_key(public_key)
    try:
        body = receipt.read_bytes()
    except OSError as error:
        raise BadRequest(f"the receipt cannot be read: {error.strerror}") from error
    statement = checked_statement(body, key)
    state = "complete" if statement.get("complete") else "NOT complete"
    about = f"Erasure {statement.get('erasure')}, {state}, as of {statement.get('issued_at')}."
    show(
        {"valid": True, "statement": statement},
        ["The signature is right.", about],
        as_json=as_json,
    )


async def _scope(
    catalog: Catalog, tenant: str | None, owner: str | None, object_: UUID | None
) -> Scope:
    if object_ is not None:
        return Scope(await tenant_of(catalog, object_), None, object_)
    if tenant is None:
        raise BadRequest("say --object or --tenant")
    await require_tenant(catalog, tenant)
    return Scope(tenant, owner)


def _is_confirmed(scope: Scope, yes: str | None, *, may_ask: bool) -> bool:
    """Has somebody typed the name? Raises BadRequest for another name."""
    typed = yes
    if typed is None and may_ask and sys.stdin.isatty():
        typed = typer.prompt(f"Type {scope.name} to erase it")
    if typed is None:
        return False
    if typed != scope.name:
        raise BadRequest(f"that is not {scope.name}; nothing was erased")
    return True
