"""Tenants, their policy and their API keys.

A key's secret is shown once; only its BLAKE3 is kept. What signs messages to the app is kept as it
is, and shown once as well.
"""

import re
import secrets
from base64 import b64encode
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from blake3 import blake3
from uuid_utils.compat import uuid7

from mediastore.catalog.policy import TenantPolicy
from mediastore.catalog.pool import Catalog
from mediastore.errors import BadRequest, Conflict, NotFound
from mediastore.settings import DAY_SECONDS

DEFAULT_TRASH_SECONDS = 30 * DAY_SECONDS
TRASH_SECONDS_MAX = 2**31 - 1  # the column's
WEBHOOK_SECRET_BYTES = 32
WEBHOOK_SECRETS_MAX = 2
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Tenant:
    """An isolation boundary and its policy. The newest of its webhook secrets comes first."""

    id: str
    public: bool
    trash_seconds: int
    policy: TenantPolicy = field(default_factory=TenantPolicy)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as an operator sees it: never its secret."""

    id: UUID
    tenant: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


def secret_hash(secret: str) -> bytes:
    """What is stored and looked up for a secret of 256 random bits (no slow hash needed)."""
    return blake3(secret.encode()).digest()


def is_tenant_id(text: str) -> bool:
    """Could `text` be a tenant's id? What comes from a URL may be anything, NUL included."""
    return _SLUG.fullmatch(text) is not None


async def create_tenant(
    catalog: Catalog, id_: str, *, public: bool = False, trash_seconds: int = DEFAULT_TRASH_SECONDS
) -> None:
    """Raises BadRequest for an id that is not a slug, Conflict when it exists."""
    if not is_tenant_id(id_):
        raise BadRequest("a tenant's id is 1 to 63 of a-z, 0-9 and '-', not starting with '-'")
    if trash_seconds < 0:
        raise BadRequest("trash_seconds must not be negative")
    if await catalog.fetch_value("tenant_create", id_, public, trash_seconds) is None:
        raise Conflict(f"tenant {id_!r} exists")


def _tenant_from_row(row: asyncpg.Record) -> Tenant:
    return Tenant(
        row["id"],
        row["public"],
        row["trash_seconds"],
        TenantPolicy.from_json(row["policy"]),
        tuple(row["webhook_secrets"]),
    )


async def list_tenants(catalog: Catalog) -> list[Tenant]:
    return [_tenant_from_row(row) for row in await catalog.fetch("tenant_list")]


async def get_tenant(catalog: Catalog, id_: str) -> Tenant | None:
    row = await catalog.fetch_row("tenant_get", id_)
    return None if row is None else _tenant_from_row(row)


async def known_tenant(catalog: Catalog, id_: str) -> Tenant:
    """As `get_tenant`. Raises NotFound."""
    tenant = await get_tenant(catalog, id_)
    if tenant is None:
        raise NotFound(f"there is no tenant {id_!r}")
    return tenant


async def change_tenant(
    catalog: Catalog,
    id_: str,
    policy_changes: dict[str, Any],
    *,
    public: bool | None = None,
    trash_seconds: int | None = None,
) -> str | None:
    """Replace what is given; None in `policy_changes` takes a member away.

    Returns the secret that the tenant got, if it now needs one and had none. Raises NotFound,
    BadRequest, Conflict when somebody else has changed it meanwhile.
    """
    tenant = await known_tenant(catalog, id_)
    policy = tenant.policy.changed(policy_changes)
    if trash_seconds is not None and not 0 <= trash_seconds <= TRASH_SECONDS_MAX:
        raise BadRequest(f"trash_seconds is from 0 to {TRASH_SECONDS_MAX}")
    made = new_webhook_secret() if policy.is_signed_for and not tenant.webhook_secrets else None
    changed = replace(
        tenant,
        public=tenant.public if public is None else public,
        trash_seconds=tenant.trash_seconds if trash_seconds is None else trash_seconds,
        policy=policy,
        webhook_secrets=tenant.webhook_secrets if made is None else (made,),
    )
    await _write(catalog, changed, was=tenant)
    return made


async def rotate_webhook_secret(catalog: Catalog, id_: str, *, keep_old: bool) -> str:
    """A new secret to sign with; messages are signed with the old one, too, if it is kept.

    Raises NotFound, Conflict.
    """
    tenant = await known_tenant(catalog, id_)
    made = new_webhook_secret()
    kept = tenant.webhook_secrets[: WEBHOOK_SECRETS_MAX - 1] if keep_old else ()
    await _write(catalog, replace(tenant, webhook_secrets=(made, *kept)), was=tenant)
    return made


def new_webhook_secret() -> str:
    """As Standard Webhooks writes symmetric keys."""
    return "whsec_" + b64encode(secrets.token_bytes(WEBHOOK_SECRET_BYTES)).decode()


async def _write(catalog: Catalog, tenant: Tenant, *, was: Tenant) -> None:
    written = await catalog.fetch_value(
        "tenant_change",
        tenant.id,
        tenant.public,
        tenant.trash_seconds,
        tenant.policy.as_json(),
        list(tenant.webhook_secrets),
        was.policy.as_json(),
        list(was.webhook_secrets),
    )
    if written is None:
        raise Conflict("somebody else has changed this tenant meanwhile; look and try again")


async def create_api_key(catalog: Catalog, tenant: str, *, name: str) -> str:
    """Make a key; its secret, which is not kept. Raises NotFound without such a tenant."""
    _ = await known_tenant(catalog, tenant)
    secret = f"ms_{secrets.token_urlsafe(32)}"
    await catalog.execute("api_key_create", uuid7(), tenant, name, secret_hash(secret))
    return secret


async def list_api_keys(catalog: Catalog, tenant: str) -> list[ApiKey]:
    rows = await catalog.fetch("api_key_list", tenant)
    return [ApiKey(**dict(row)) for row in rows]


async def revoke_api_key(catalog: Catalog, id_: UUID) -> None:
    """Raises NotFound when there is no such key or it is revoked already."""
    if await catalog.fetch_value("api_key_revoke", id_) is None:
        raise NotFound("there is no such valid key")


async def find_tenant_by_secret(catalog: Catalog, secret: str) -> Tenant | None:
    """The tenant that a valid key belongs to."""
    row = await catalog.fetch_row("api_key_find", secret_hash(secret))
    return None if row is None else _tenant_from_row(row)


async def get_token_secret(catalog: Catalog, tenant: str) -> bytes | None:
    """What signs a tenant's tokens; None without such a tenant."""
    secret: bytes | None = await catalog.fetch_value("token_secret_get", tenant)
    return secret


async def renew_token_secret(catalog: Catalog, tenant: str) -> None:
    """Make every token of a tenant useless. Raises NotFound without such a tenant."""
    if await catalog.fetch_value("token_secret_renew", tenant) is None:
        raise NotFound(f"there is no tenant {tenant!r}")


async def find_tenants_with_uploads(catalog: Catalog, at_least: int) -> frozenset[str]:
    """Tenants that have at least so many unfinished uploads. Reads them all: ask seldom."""
    return frozenset(row["tenant"] for row in await catalog.fetch("tenants_with_uploads", at_least))
