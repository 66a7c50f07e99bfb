"""API keys to tenants, believed for a few seconds.

A key is looked up by the BLAKE3 of its 256 random bits, so neither the cache nor the database
compares secrets. A missing key, a malformed one, an unknown one and a revoked one get the same
answer.
"""

from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import web

from mediastore.access.fair_share import FairShare
from mediastore.access.policies import Policies
from mediastore.catalog.pool import Catalog
from mediastore.catalog.tenants import Tenant, find_tenant_by_secret, secret_hash
from mediastore.clock import Clock
from mediastore.errors import Unauthorized

CACHE_SECONDS = 5.0  # how long a revoked key may go on working
CACHE_ENTRIES_MAX = 10_000
SECRET_LENGTH_MAX = 128
_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class _Believed:
    tenant: Tenant
    until: float


class Authenticator:
    """Tells a request's tenant from its `Authorization: Bearer KEY`."""

    def __init__(self, catalog: Catalog, clock: Clock, share: FairShare | None = None) -> None:
        self._share = share
        self._catalog = catalog
        self._clock = clock
        self._cache: OrderedDict[bytes, _Believed] = OrderedDict()
        self.policies = Policies(catalog, clock)

    async def tenant(self, request: web.Request) -> Tenant:
        """The tenant of the request's valid key.

        Raises Unauthorized, CatalogUnavailable, TooManyRequests.
        """
        tenant = await self._tenant(request)
        if self._share is not None:
            self._share.enter(request, tenant.id)
        return tenant

    async def _tenant(self, request: web.Request) -> Tenant:
        secret = _bearer(request.headers.get("Authorization"))
        if secret is None:
            raise Unauthorized
        digest = secret_hash(secret)
        believed = self._cache.get(digest)
        now = self._clock.monotonic()
        if believed is not None and believed.until > now:
            return believed.tenant
        tenant = await find_tenant_by_secret(self._catalog, secret)
        if tenant is None:
            self._cache.pop(digest, None)
            raise Unauthorized
        self._cache[digest] = _Believed(tenant, now + CACHE_SECONDS)
        self._cache.move_to_end(digest)
        self.policies.remember(tenant)
        while len(self._cache) > CACHE_ENTRIES_MAX:
            self._cache.popitem(last=False)
        return tenant


def _bearer(header: str | None) -> str | None:
    """The key of an Authorization header (RFC 6750, section 2.1; the scheme in any case)."""
    if header is None or header[: len(_SCHEME)].lower() != _SCHEME:
        return None
    secret = header[len(_SCHEME) :].strip(" ")
    return secret if 0 < len(secret) <= SECRET_LENGTH_MAX and secret.isascii() else None
