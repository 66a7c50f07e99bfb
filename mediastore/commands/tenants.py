"""`mediastore tenant …` and `mediastore key …`."""

from typing import Annotated, Any
from uuid import UUID

import typer

from mediastore.catalog import tenants
from mediastore.catalog.policy import TenantPolicy
from mediastore.catalog.tenants import Tenant
from mediastore.commands.command_line import Config, Json, chosen_settings, show, with_catalog
from mediastore.errors import BadRequest
from mediastore.images.grammar import parse_presets
from mediastore.links import tenant_link_secret
from mediastore.origin_errors import LinksNotConfigured

tenant_app = typer.Typer(help="Tenants: isolation boundaries.", no_args_is_help=True)
key_app = typer.Typer(help="API keys of tenants.", no_args_is_help=True)

TenantName = Annotated[str, typer.Argument(help="The tenant.")]


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
    settings = chosen_settings(context, config)
    with_catalog(settings, lambda catalog: tenants.create_tenant(catalog, tenant, public=public))
    print(f"created {tenant}")


@tenant_app.command("list")
def tenant_list(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Show every tenant."""
    found = with_catalog(chosen_settings(context, config), tenants.list_tenants)
    show([_shown(tenant) for tenant in found], as_json)


@tenant_app.command("show")
def tenant_show(
    context: typer.Context, tenant: TenantName, config: Config = None, as_json: Json = False
) -> None:
    """Show a tenant and its policy; what is not shown follows the settings."""
    settings = chosen_settings(context, config)
    found = with_catalog(settings, lambda catalog: tenants.known_tenant(catalog, tenant))
    show([_shown(found)], as_json)


@tenant_app.command("set")
def tenant_set(
    context: typer.Context,
    tenant: TenantName,
    changes: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE...", help="NAME= follows the settings again."),
    ],
    config: Config = None,
) -> None:
    """Change a tenant's policy; running services take it up within seconds.

    Names: public, trash_seconds, upload_expires_seconds, upload_expiry, size_max_bytes,
    content_types, type_mismatch, cors_origins, image_presets, before_create_url, webhook_url.
    """
    given = _parsed(changes)
    public = _public(given.pop("public", None))
    trash_seconds = _number("trash_seconds", given.pop("trash_seconds", None))
    policy: dict[str, Any] = {name: value or None for name, value in given.items()}
    parse_presets(TenantPolicy().changed(policy).image_presets or {})
    made = with_catalog(
        chosen_settings(context, config),
        lambda catalog: tenants.change_tenant(
            catalog, tenant, policy, public=public, trash_seconds=trash_seconds
        ),
    )
    print(f"changed {tenant}")
    if made is not None:
        print(f"messages to it are signed with this secret, shown only now: {made}")


@tenant_app.command("secret")
def tenant_secret(
    context: typer.Context,
    tenant: TenantName,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Sign no longer with the old one as well.")
    ] = False,
    config: Config = None,
) -> None:
    """Make a new secret that messages to the app are signed with, and print it: only now."""
    print(
        with_catalog(
            chosen_settings(context, config),
            lambda catalog: tenants.rotate_webhook_secret(catalog, tenant, keep_old=not drop_old),
        )
    )


@key_app.command("create")
def key_create(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="The tenant that the key opens.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    config: Config = None,
) -> None:
    """Make an API key and print it: this is the only time that it can be seen."""
    settings = chosen_settings(context, config)
    print(
        with_catalog(settings, lambda catalog: tenants.create_api_key(catalog, tenant, name=name))
    )


@key_app.command("list")
def key_list(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose keys.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show a tenant's keys, never their secrets."""
    settings = chosen_settings(context, config)
    show(with_catalog(settings, lambda catalog: tenants.list_api_keys(catalog, tenant)), as_json)


@key_app.command("revoke")
def key_revoke(
    context: typer.Context,
    key: Annotated[UUID, typer.Argument(help="The key's id, from 'mediastore key list'.")],
    config: Config = None,
) -> None:
    """Make a key useless from now on."""
    settings = chosen_settings(context, config)
    with_catalog(settings, lambda catalog: tenants.revoke_api_key(catalog, key))
    print(f"revoked {key}")


@key_app.command("renew-tokens")
def key_renew_tokens(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose tokens.")],
    config: Config = None,
) -> None:
    """Make every token that was given out for a tenant's uploads useless."""
    settings = chosen_settings(context, config)
    with_catalog(settings, lambda catalog: tenants.renew_token_secret(catalog, tenant))
    print(f"renewed {tenant}")


@key_app.command("link-secret")
def key_link_secret(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose links.")],
    config: Config = None,
) -> None:
    """Print the key id and the secret that the tenant's app signs links with (docs/serving.md)."""
    settings = chosen_settings(context, config)
    if not settings.links.keys:
        raise LinksNotConfigured
    with_catalog(settings, lambda catalog: tenants.known_tenant(catalog, tenant))
    key = settings.links.keys[0]
    print(key.id, tenant_link_secret(key.secret.get_secret_value(), tenant))


def _shown(tenant: Tenant) -> dict[str, Any]:
    """Everything but the secrets."""
    return {
        "id": tenant.id,
        "public": tenant.public,
        "trash_seconds": tenant.trash_seconds,
        **tenant.policy.model_dump(mode="json", exclude_none=True),
        "webhook_secrets": len(tenant.webhook_secrets),
    }


def _parsed(changes: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or name in given:
            raise BadRequest(f"{change!r} is not NAME=VALUE, or its name was given twice")
        if name not in (*TenantPolicy.model_fields, "public", "trash_seconds"):
            raise BadRequest(f"a tenant has no {name!r}")
        given[name] = value
    return given


def _public(text: str | None) -> bool | None:
    if text is None:
        return None
    if text not in ("true", "false"):
        raise BadRequest("public is true or false")
    return text == "true"


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise BadRequest(f"{name} is a number")
    return int(text)
