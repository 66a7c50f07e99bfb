"""One batch of keys from claim to forgotten row: the only code that deletes bytes.

Order (INV-5): the marker agrees with the database, the claim commits, the marker is raised, the
store deletes, the rows go. A crash between any two of them leaves claims that another collector
takes up after the claim timeout; a key that is deleted twice is no loss, because no key ever comes
back (INV-3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from mediastore.catalog.collection import DoomedKey, claim_doomed, forget_doomed, refuse_doomed
from mediastore.catalog.marker import checked_marker
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import ChunkStore, DeleteResult
from mediastore.clock import Clock
from mediastore.errors import ChunkStoreUnavailable, InvariantBroken
from mediastore.settings import CollectionSettings
from mediastore_gc.marker import raise_marker
from mediastore_gc.safety import CollectionDelays

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of one batch. `claimed` = `deleted` + `refused`, in keys."""

    claimed: int = 0
    claimed_bytes: int = 0
    kept: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    refused: int = 0


async def delete_batch(
    catalog: Catalog,
    store: ChunkStore,
    settings: CollectionSettings,
    delays: CollectionDelays,
    clock: Clock,
    incarnation: UUID,
    *,
    keys_max: int,
    bytes_max: int,
) -> Deleted:
    """Claim up to `batch_keys` keys and delete them.

    Raises DatabaseRestored, CollectorPaused, ClockSkew, InvariantBroken, ChunkStoreUnavailable (no
    key's fate is known: all are tried again later).
    """
    marker = await checked_marker(catalog, store)
    if marker.version is None:
        marker = await raise_marker(store, incarnation, 0)
    claim = await claim_doomed(
        catalog,
        incarnation,
        marker_counter=marker.counter,
        host_time=clock.now(),
        skew_max_seconds=delays.clock_skew_max_seconds,
        window_seconds=delays.window_seconds,
        limit=keys_max,
        bytes_max=bytes_max,
        claim_timeout_seconds=settings.claim_timeout_seconds,
    )
    if claim.kept:
        log.error("doomed_keys_kept", keys=claim.kept, why="a recount met references to them")
    if not claim.keys:
        return Deleted(kept=claim.kept)
    await raise_marker(store, incarnation, claim.counter)
    names = [chunk_key(key.hash, key.generation) for key in claim.keys]
    try:
        results = await store.delete_many(names)
    except ChunkStoreUnavailable as error:
        await refuse_doomed(catalog, [(key, error.detail) for key in claim.keys])
        raise
    errors = _errors_by_name(names, results)
    refused = [
        (key, errors[name]) for key, name in zip(claim.keys, names, strict=True) if name in errors
    ]
    gone = [key for key, name in zip(claim.keys, names, strict=True) if name not in errors]
    await _record(catalog, gone, refused)
    return Deleted(
        claimed=len(claim.keys),
        claimed_bytes=sum(key.size for key in claim.keys),
        kept=claim.kept,
        deleted=len(gone),
        deleted_bytes=sum(key.size for key in gone),
        refused=len(refused),
    )


def _errors_by_name(names: Sequence[str], results: Sequence[DeleteResult]) -> dict[str, str]:
    """The store must have answered for each key exactly once, else nothing is believed."""
    if sorted(result.key for result in results) != sorted(names):
        raise InvariantBroken(
            f"the store answered for {len(results)} keys of {len(names)}, or for others; "
            "the rows are kept and tried again"
        )
    return {result.key: result.error for result in results if result.error is not None}


async def _record(
    catalog: Catalog, gone: Sequence[DoomedKey], refused: Sequence[tuple[DoomedKey, str]]
) -> None:
    if refused:
        log.warning("doomed_keys_refused", keys=len(refused), first=refused[0][1])
        await refuse_doomed(catalog, refused)
    if gone:
        forgotten = await forget_doomed(catalog, gone)
        if forgotten != len(gone):
            log.info("claims_taken_up", keys=len(gone) - forgotten, detail="another was quicker")
