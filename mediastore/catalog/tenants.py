"""Tenants and their API keys. A key's secret is shown once; only its BLAKE3 is kept."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from blake3 import blake3
from uuid_utils.compat import uuid7

from mediastore.catalog.pool import Catalog
from mediastore.errors import BadRequest, Conflict, NotFound
from mediastore.settings import DAY_SECONDS

DEFAULT_TRASH_SECONDS = 30 * DAY_SECONDS
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Tenant:
    """An isolation boundary and its policy."""

    id: str
    public: bool
    trash_seconds: int


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


async def list_tenants(catalog: Catalog) -> list[Tenant]:
    rows = await catalog.fetch("tenant_list")
    return [Tenant(row["id"], row["public"], row["trash_seconds"]) for row in rows]


async def get_tenant(catalog: Catalog, id_: str) -> Tenant | None:
    row = await catalog.fetch_row("tenant_get", id_)
    return None if row is None else Tenant(row["id"], row["public"], row["trash_seconds"])


async def create_api_key(catalog: Catalog, tenant: str, *, name: str) -> str:
    """Make a key; its secret, which is not kept. Raises NotFound without such a tenant."""
    if await get_tenant(catalog, tenant) is None:
        raise NotFound(f"there is no tenant {tenant!r}")
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
    return None if row is None else Tenant(row["id"], row["public"], row["trash_seconds"])


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
