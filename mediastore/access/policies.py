"""Tenants as this process believes them to be: their policy, for a few seconds.

Whoever has just authenticated a request has read its tenant's row already; so work for a request
finds the policy here without a statement of its own. A change takes effect everywhere within
CACHE_SECONDS.
"""

from collections import OrderedDict
from dataclasses import dataclass

from mediastore.catalog.pool import Catalog
from mediastore.catalog.tenants import Tenant, known_tenant
from mediastore.clock import Clock

CACHE_SECONDS = 5.0
CACHE_ENTRIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Believed:
    tenant: Tenant
    until: float


class Policies:
    """The tenants that were read last; the least recently used are forgotten."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._believed: OrderedDict[str, _Believed] = OrderedDict()

    def remember(self, tenant: Tenant) -> None:
        """Believe a row that was read just now."""
        self._believed[tenant.id] = _Believed(tenant, self._clock.monotonic() + CACHE_SECONDS)
        self._believed.move_to_end(tenant.id)
        while len(self._believed) > CACHE_ENTRIES_MAX:
            self._believed.popitem(last=False)

    async def tenant(self, id_: str) -> Tenant:
        """A tenant with its policy. Raises NotFound, CatalogUnavailable."""
        believed = self._believed.get(id_)
        if believed is not None and believed.until > self._clock.monotonic():
            return believed.tenant
        tenant = await known_tenant(self._catalog, id_)
        self.remember(tenant)
        return tenant
