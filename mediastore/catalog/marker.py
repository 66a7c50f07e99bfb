"""The collectors' high-water marker in the store: how a restore of the database is noticed.

A claim counts a counter up in the database; before the bytes go, the marker is raised to it. So a
database whose counter is behind the marker has been restored to a moment before deletions that
happened (INV-5, INV-6). The marker belongs to one incarnation and is never lowered.
"""

import json
from dataclasses import dataclass
from uuid import UUID

from mediastore.catalog.collection import collector_state
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.keys import COLLECTOR_MARKER
from mediastore.chunkstore.protocol import ChunkStore, MissingKey
from mediastore.collector_errors import CollectorRefused, DatabaseRestored

WHAT_TO_DO = (
    "Nothing was deleted. If the database was restored: stop every collector of the old one, then "
    "run 'mediastore-gc reconcile'. If this is the wrong database or store, correct the settings"
)


@dataclass(frozen=True, slots=True)
class Marker:
    """The marker as it was read; `version` is what a conditional PUT names."""

    incarnation: UUID
    counter: int
    version: str | None

    @property
    def body(self) -> bytes:
        return json.dumps({"incarnation": str(self.incarnation), "counter": self.counter}).encode()


async def read_marker(store: ChunkStore) -> Marker | None:
    """The marker; None when the store has none. Raises CollectorRefused when it makes no sense."""
    try:
        held = await store.get_versioned(COLLECTOR_MARKER)
    except MissingKey:
        return None
    try:
        document = json.loads(held.body)
        return Marker(UUID(document["incarnation"]), int(document["counter"]), held.version)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CollectorRefused(
            f"the store's {COLLECTOR_MARKER} cannot be understood ({error}). {WHAT_TO_DO}."
        ) from error


async def checked_marker(catalog: Catalog, store: ChunkStore) -> Marker:
    """The marker, once it agrees with the database; a store that never had one counts as one at 0.

    The marker is read before the database: it is only raised after a claim has committed, so the
    database must be at least as far. Raises DatabaseRestored; CollectorRefused when the marker has
    gone.
    """
    marker = await read_marker(store)
    state = await collector_state(catalog)
    if marker is None and state.batch_counter > 0:
        # The first collector writes the marker before its first claim: between our two reads,
        # another may just have done both.
        marker = await read_marker(store)
        state = await collector_state(catalog)
    if marker is None:
        if state.batch_counter > 0:
            raise CollectorRefused(
                f"the database has counted {state.batch_counter} claims, yet the store has no "
                f"{COLLECTOR_MARKER}: it is another store, or was emptied. {WHAT_TO_DO}."
            )
        return Marker(state.incarnation, 0, None)
    if marker.incarnation != state.incarnation:
        raise DatabaseRestored(
            f"the store belongs to incarnation {marker.incarnation}, the database is "
            f"{state.incarnation}. {WHAT_TO_DO}."
        )
    if state.batch_counter < marker.counter:
        raise DatabaseRestored(
            f"the database has counted {state.batch_counter} claims, collectors of this store "
            f"{marker.counter}: it has been restored. {WHAT_TO_DO}."
        )
    return marker
