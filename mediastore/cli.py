"""The `mediastore` command line: thin commands over the rooms; docs/cli.md is made from it.

What goes wrong leaves as one line on standard error and the exit code of its class in errors.py.
"""

import asyncio
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from mediastore.catalog.migrations import migrate as apply_migrations
from mediastore.clock import SystemClock
from mediastore.commands.command_line import Config, chosen_settings
from mediastore.commands.events import events_app
from mediastore.commands.purges import purge_app
from mediastore.commands.tenants import key_app, tenant_app
from mediastore.errors import BadRequest, MediastoreError
from mediastore.serving import run, serve
from mediastore.workers.supervisor import supervise

app = typer.Typer(
    name="mediastore",
    help="Content-addressed media storage: the service and what its operator needs beside it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(tenant_app, name="tenant")
app.add_typer(key_app, name="key")
app.add_typer(events_app, name="events")
app.add_typer(purge_app, name="purge")


@app.callback()
def choose_config(context: typer.Context, config: Config = None) -> None:
    """Content-addressed media storage: the service and what its operator needs beside it.

    Settings come from flags, then MEDIASTORE_… environment variables, then the file, then defaults.
    """
    context.obj = config


@app.command("serve")
def serve_command(
    context: typer.Context,
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Instead of http.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Instead of http.port; 0: a free one.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Instead of http.workers: processes that share the port.")
    ] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then let running requests commit what they hold."""
    given = {"host": host, "port": port, "workers": workers}
    flags = {name: value for name, value in given.items() if value is not None}
    settings = chosen_settings(context, config, **({"http": flags} if flags else {}))
    serving = serve if settings.http.workers == 1 else supervise
    raise typer.Exit(run(serving(settings, SystemClock())))


@app.command("dev")
def dev_command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    data: Annotated[Path, typer.Option(help="Folder for everything it keeps.")] = Path("data"),
) -> None:
    """Run everything locally: its own Postgres, a directory as chunk store, a tenant and a key."""
    from mediastore.local.development import develop  # needs the `local` extra

    raise typer.Exit(develop(host, port, data, SystemClock()))


@app.command("migrate")
def migrate_command(
    context: typer.Context,
    config: Config = None,
    phase: Annotated[
        str | None,
        typer.Option(
            metavar="pre|post",
            help="Only what goes before new code (pre) or after old code is gone (post).",
        ),
    ] = None,
) -> None:
    """Bring the database's schema up to this version."""
    if phase not in (None, "pre", "post"):
        raise BadRequest("--phase is pre or post")
    settings = chosen_settings(context, config)
    applied = asyncio.run(apply_migrations(settings.catalog.dsn.get_secret_value(), phase=phase))
    for name in applied:
        print(f"applied {name}")
    if not applied:
        print("nothing to apply")


@app.command("version")
def version_command() -> None:
    """Show the version."""
    print(installed_version("mediastore"))


def main() -> None:
    """The entry point that pyproject names."""
    try:
        app()
    except MediastoreError as error:
        print(f"mediastore: {error.detail} [{error.code}]", file=sys.stderr)
        sys.exit(error.exit_code)
