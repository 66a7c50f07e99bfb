"""Dooms the orphans that a merge has found, batch by batch, behind the collector's brakes.

The wrong database, or an empty one, makes every key look like an orphan: so the store's marker must
agree with it, and no more than a share of what was listed is doomed (INV-6, INV-7 do the rest).
"""

from mediastore.catalog.auditing import doom_orphans
from mediastore.catalog.marker import checked_marker
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import Clock
from mediastore.collector_errors import CollectorRefused
from mediastore.settings import CollectionSettings
from mediastore_gc.orphans import KeysFound, Orphans


class OrphanDoom:
    """What to do with a page's orphans. `keys` and `bytes` are what was doomed."""

    def __init__(
        self, catalog: Catalog, store: ChunkStore, settings: CollectionSettings, clock: Clock
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._settings = settings
        self._clock = clock
        self.keys = 0
        self.bytes = 0

    async def doom(self, orphans: Orphans, found: KeysFound) -> None:
        """Raises DatabaseRestored, CollectorPaused, ClockSkew, CollectorRefused."""
        marker = await checked_marker(self._catalog, self._store)
        # Hashes are random: the share of a part of the listing is that of the whole.
        share = int(self._settings.delete_share_max * found.bytes)
        if found.orphan_bytes > max(share, self._settings.delete_share_floor_bytes):
            raise CollectorRefused(
                f"{found.orphan_bytes} of {found.bytes} bytes listed so far have no row; "
                f"{share} are allowed. Is this the right database? If that is meant, raise "
                "--delete-share-max"
            )
        keys, doomed_bytes = await doom_orphans(
            self._catalog,
            marker.incarnation,
            orphans,
            host_time=self._clock.now(),
            skew_max_seconds=self._settings.clock_skew_max_seconds,
        )
        self.keys += keys
        self.bytes += doomed_bytes
