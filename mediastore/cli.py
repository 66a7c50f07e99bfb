"""The `mediastore` command line: thin commands over the rooms; docs/cli.md is made from it.

What goes wrong leaves as one line on standard error and the exit code of its class in errors.py.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from mediastore.catalog import tenants
from mediastore.catalog.migrations import migrate as apply_migrations
from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.clock import SystemClock
from mediastore.errors import BadRequest, MediastoreError
from mediastore.serving import run, serve
from mediastore.settings import Settings, load_settings
from mediastore.telemetry.logs import configure_logs

T = TypeVar("T")

app = typer.Typer(
    name="mediastore",
    help="Content-addressed media storage: the service and what its operator needs beside it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tenant_app = typer.Typer(help="Tenants: isolation boundaries.", no_args_is_help=True)
key_app = typer.Typer(help="API keys of tenants.", no_args_is_help=True)
app.add_typer(tenant_app, name="tenant")
app.add_typer(key_app, name="key")

Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Settings file (TOML).")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]


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
) -> None:
    """Serve until SIGTERM or Ctrl-C, then let running requests commit what they hold."""
    given = {"host": host, "port": port}
    flags = {name: value for name, value in given.items() if value is not None}
    settings = _settings(context, config, **({"http": flags} if flags else {}))
    raise typer.Exit(run(serve(settings, SystemClock())))


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
    settings = _settings(context, config)
    applied = asyncio.run(apply_migrations(settings.catalog.dsn.get_secret_value(), phase=phase))
    for name in applied:
        print(f"applied {name}")
    if not applied:
        print("nothing to apply")


@app.command("version")
def version_command() -> None:
    """Show the version."""
    print(installed_version("mediastore"))


@tenant_app.command("create")
def tenant_create(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="1 to 63 of a-z, 0-9 and '-'.")],
    public: Annotated[
        bool, typer.Option("--public", help="Its media can be read without a key.")
    ] = False,
    config: Config = None,
) -> None:
    """Make a tenant."""
    settings = _settings(context, config)
    _with_catalog(settings, lambda catalog: tenants.create_tenant(catalog, tenant, public=public))
    print(f"created {tenant}")


@tenant_app.command("list")
def tenant_list(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Show every tenant."""
    _show(_with_catalog(_settings(context, config), tenants.list_tenants), as_json)


@key_app.command("create")
def key_create(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="The tenant that the key opens.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    config: Config = None,
) -> None:
    """Make an API key and print it: this is the only time that it can be seen."""
    settings = _settings(context, config)
    print(
        _with_catalog(settings, lambda catalog: tenants.create_api_key(catalog, tenant, name=name))
    )


@key_app.command("list")
def key_list(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose keys.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show a tenant's keys, never their secrets."""
    settings = _settings(context, config)
    _show(_with_catalog(settings, lambda catalog: tenants.list_api_keys(catalog, tenant)), as_json)


@key_app.command("revoke")
def key_revoke(
    context: typer.Context,
    key: Annotated[UUID, typer.Argument(help="The key's id, from 'mediastore key list'.")],
    config: Config = None,
) -> None:
    """Make a key useless from now on."""
    settings = _settings(context, config)
    _with_catalog(settings, lambda catalog: tenants.revoke_api_key(catalog, key))
    print(f"revoked {key}")


@key_app.command("renew-tokens")
def key_renew_tokens(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose tokens.")],
    config: Config = None,
) -> None:
    """Make every token that was given out for a tenant's uploads useless."""
    settings = _settings(context, config)
    _with_catalog(settings, lambda catalog: tenants.renew_token_secret(catalog, tenant))
    print(f"renewed {tenant}")


def main() -> None:
    """The entry point that pyproject names."""
    try:
        app()
    except MediastoreError as error:
        print(f"mediastore: {error.detail} [{error.code}]", file=sys.stderr)
        sys.exit(error.exit_code)


def _settings(context: typer.Context, config: Path | None, **overrides: Any) -> Settings:
    """Settings from the command's own --config, else from the one before the command."""
    settings = load_settings(config if config is not None else context.obj, **overrides)
    configure_logs(settings.log)
    return settings


def _with_catalog(settings: Settings, work: Callable[[Catalog], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with open_catalog(settings.catalog, SystemClock()) as catalog:
            return await work(catalog)

    return asyncio.run(opened())


def _show(rows: list[Any], as_json: bool) -> None:
    """One row a line: JSON for programs, `name=value` pairs for people."""
    values = [asdict(row) for row in rows]
    if as_json:
        print(json.dumps(values, default=str))
        return
    for value in values:
        print("  ".join(f"{name}={'-' if item is None else item}" for name, item in value.items()))
