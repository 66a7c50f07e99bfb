"""Tokens that show how far one upload has come, and nothing else.

A token is the tenant's id and an HMAC-SHA-256 over the upload's id by a secret of the tenant. It
names no rights and no time: it opens `HEAD /v1/uploads/{id}?peek=TOKEN` and is good for as long as
that has something to show. All of a tenant's tokens end with its secret (`mediastore key
renew-tokens`). A malformed, a forged and another upload's token get the same answer.
"""

import hmac
from base64 import urlsafe_b64encode
from collections import OrderedDict
from uuid import UUID

from mediastore.catalog.pool import Catalog
from mediastore.catalog.tenants import get_token_secret, is_tenant_id
from mediastore.clock import Clock
from mediastore.errors import NotFound, Unauthorized

CACHE_SECONDS = 5.0  # how long a renewed secret's tokens may go on working
CACHE_ENTRIES_MAX = 10_000
TOKEN_LENGTH_MAX = 128
_PURPOSE = b"mediastore peek token 1\0"


class PeekTokens:
    """Makes and checks tokens; believes a secret for a few seconds."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._secrets: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    async def make(self, tenant: str, upload: UUID) -> str:
        """A token for an upload of this tenant. Raises NotFound without such a tenant."""
        secret = await self._secret(tenant)
        if secret is None:
            raise NotFound
        return f"{tenant}.{_signature(secret, tenant, upload)}"

    async def tenant(self, token: str, upload: UUID) -> str:
        """The tenant of a token that is good for this upload. Raises Unauthorized."""
        tenant, _, signature = token.partition(".")
        if len(token) > TOKEN_LENGTH_MAX or not token.isascii() or not is_tenant_id(tenant):
            raise Unauthorized
        secret = await self._secret(tenant)
        if secret is None:
            raise Unauthorized
        if not hmac.compare_digest(signature, _signature(secret, tenant, upload)):
            raise Unauthorized
        return tenant

    async def _secret(self, tenant: str) -> bytes | None:
        kept = self._secrets.get(tenant)
        now = self._clock.monotonic()
        if kept is not None and kept[1] > now:
            return kept[0]
        secret = await get_token_secret(self._catalog, tenant)
        if secret is None:
            self._secrets.pop(tenant, None)
            return None
        self._secrets[tenant] = (secret, now + CACHE_SECONDS)
        self._secrets.move_to_end(tenant)
        if len(self._secrets) > CACHE_ENTRIES_MAX:
            self._secrets.popitem(last=False)
        return secret


def _signature(secret: bytes, tenant: str, upload: UUID) -> str:
    message = _PURPOSE + tenant.encode() + b"\0" + upload.bytes
    return urlsafe_b64encode(hmac.digest(secret, message, "sha256")).rstrip(b"=").decode()
