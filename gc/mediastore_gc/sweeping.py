"""Drops what is past its use, records and variants, and folds what triggers have counted."""

from dataclasses import dataclass

from mediastore.catalog.collection import sweep
from mediastore.catalog.counts import fold_changes
from mediastore.catalog.erasing import finish_erasures
from mediastore.catalog.pool import Catalog
from mediastore.catalog.purges import sweep_purges
from mediastore.catalog.variants import release_variants, sweep_variants
from mediastore.catalog.watching import sweep_audits
from mediastore.settings import DAY_SECONDS, CollectionSettings
from mediastore_gc.erasing import Eraser
from mediastore_gc.safety import CollectionDelays

RECOUNTS_KEPT_SECONDS = 90 * DAY_SECONDS
RUNS_KEPT_SECONDS = 90 * DAY_SECONDS
AUDITS_KEPT_SECONDS = 90 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Swept:
    """Rows that went, and changes that were folded into counts."""

    rows: int
    folded: int


async def sweep_some(
    catalog: Catalog,
    eraser: Eraser,
    settings: CollectionSettings,
    delays: CollectionDelays,
    *,
    limit: int,
) -> Swept:
    """Up to `limit` rows of each kind."""
    folded = await fold_changes(catalog)
    rows = await sweep(
        catalog,
        window_seconds=delays.window_seconds,
        purged_seconds=delays.revive_seconds + delays.window_seconds,
        recounts_seconds=RECOUNTS_KEPT_SECONDS,
        runs_seconds=RUNS_KEPT_SECONDS,
        events_seconds=settings.events_kept_seconds,
        limit=limit,
    )
    rows += await sweep_audits(catalog, AUDITS_KEPT_SECONDS, limit)
    rows += await sweep_purges(catalog, limit)
    rows += await sweep_variants(catalog, delays.revive_seconds + delays.window_seconds, limit)
    rows += await finish_erasures(catalog)
    rows += await eraser.forget_old(settings.erasures_kept_seconds)
    return Swept(rows, folded)


async def release_some(
    catalog: Catalog, settings: CollectionSettings, delays: CollectionDelays, *, limit: int
) -> tuple[int, int]:
    """Variants whose source goes, or that nobody has used for long; how many, and how many of their
    results were put aside.
    """
    return await release_variants(
        catalog,
        limit,
        revive_seconds=delays.revive_seconds,
        unused_seconds=settings.variants_unused_seconds,
    )
