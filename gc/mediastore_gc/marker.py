"""Raises the collectors' marker (mediastore/catalog/marker.py has it and what it is for).

Before the bytes of a claim go, the marker is raised to the claim's number (INV-5). It belongs to
one incarnation and is never lowered.
"""

from uuid import UUID

from mediastore.catalog.marker import WHAT_TO_DO, Marker, read_marker
from mediastore.chunkstore.keys import COLLECTOR_MARKER
from mediastore.chunkstore.protocol import ChunkStore, ConditionFailed
from mediastore.collector_errors import CollectorRefused, DatabaseRestored

RAISE_ATTEMPTS_MAX = 50


async def raise_marker(store: ChunkStore, incarnation: UUID, counter: int) -> Marker:
    """Make the marker say at least `counter`, in the same incarnation; never lower it.

    Raises DatabaseRestored when it belongs to another incarnation, CollectorRefused when it cannot
    be written.
    """
    for _ in range(RAISE_ATTEMPTS_MAX):
        held = await read_marker(store)
        if held is not None and held.incarnation != incarnation:
            raise DatabaseRestored(
                f"the store now belongs to incarnation {held.incarnation}. {WHAT_TO_DO}."
            )
        if held is not None and held.counter >= counter:
            return held
        wanted = Marker(incarnation, counter, None if held is None else held.version)
        try:
            version = await store.put_if(COLLECTOR_MARKER, wanted.body, version=wanted.version)
        except ConditionFailed:
            continue
        return Marker(incarnation, counter, version)
    raise CollectorRefused(f"{COLLECTOR_MARKER} could not be raised: too many others write it")
