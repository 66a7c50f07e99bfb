"""How many unfinished uploads a tenant may have.

They are counted now and then and not at every creation, which would cost each of them: so a tenant
may get past the limit by what it creates in between, and no creation waits for a count.
"""

import structlog

from mediastore.catalog.pool import Catalog
from mediastore.catalog.tenants import find_tenants_with_uploads
from mediastore.clock import Clock
from mediastore.errors import MediastoreError, TooManyUploads
from mediastore.settings import Settings

log = structlog.get_logger(__name__)

COUNT_SECONDS = 30.0


class OpenUploads:
    """Knows the tenants that have too many."""

    def __init__(self, catalog: Catalog, settings: Settings, clock: Clock) -> None:
        self._catalog = catalog
        self._limit = settings.uploads.open_max_per_tenant
        self._clock = clock
        self._full: frozenset[str] = frozenset()

    def admit(self, tenant: str) -> None:
        """Raises TooManyUploads."""
        if tenant in self._full:
            raise TooManyUploads

    async def count(self) -> None:
        """Ask the catalog who has too many now."""
        full = await find_tenants_with_uploads(self._catalog, self._limit)
        if full - self._full:
            log.warning("tenants_with_too_many_uploads", tenants=sorted(full)[:10])
        self._full = full

    async def run(self) -> None:
        """Count until cancelled; an outage leaves the last count in force."""
        while True:
            try:
                await self.count()
            except MediastoreError as error:
                log.warning("uploads_not_counted", detail=error.detail)
            await self._clock.sleep(COUNT_SECONDS)
