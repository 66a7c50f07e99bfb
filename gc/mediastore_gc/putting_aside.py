"""Blobs that are counted too low: put aside one by one and told of; too many stop every collector.

A batch that meets one leaves it, with all that refers to it, and goes on with the others; the rules
are in migrations/0044_pre_blob_quarantine.sql. 'verify --repair' counts them anew and lets go.
"""

import structlog

from mediastore.catalog.emptying import blobs_put_aside
from mediastore.catalog.pool import Catalog
from mediastore.collector_errors import CollectorRefused
from mediastore.settings import CollectionSettings

log = structlog.get_logger(__name__)


def too_many(blobs: int, settings: CollectionSettings) -> str | None:
    """Why nothing is collected any more, as so many are put aside; None: it may go on."""
    if blobs <= settings.blob_quarantine_max:
        return None
    return (
        f"{blobs} blobs are counted too low and put aside, {settings.blob_quarantine_max} may be: "
        "counts as a whole are in doubt. 'verify --repair' counts them anew"
    )


class PutAside:
    """What a collector does about them. Raises CollectorRefused when there are too many."""

    def __init__(self, catalog: Catalog, settings: CollectionSettings) -> None:
        self._catalog = catalog
        self._settings = settings

    def check(self, blobs: int) -> None:
        why = too_many(blobs, self._settings)
        if why is not None:
            raise CollectorRefused(why)

    async def note(self, blobs: int) -> None:
        """A batch has put so many aside, or met them again."""
        if blobs:
            log.error("blobs_put_aside", blobs=blobs, why="counted too low: 'verify --repair'")
            self.check(await blobs_put_aside(self._catalog))
