"""Whom bad chunks hurt: the objects and open uploads that name them.

Nothing leads from a chunk to its blobs, so every manifest is read once; only done when something is
bad.
"""

from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from mediastore.catalog.auditing import HurtObject, hurt_objects, hurt_uploads
from mediastore.catalog.pool import Catalog
from mediastore.catalog.recount import manifest_pieces
from mediastore_gc.manifests import hashes_of

OBJECTS_MAX = 10_000
BLOBS_AT_ONCE = 500
PAGE_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class Hurt:
    """Objects and uploads with a bad chunk, at most OBJECTS_MAX each; `more`: there are others."""

    objects: tuple[HurtObject, ...] = ()
    uploads: tuple[UUID, ...] = ()
    more: bool = False


async def whom_it_hurts(catalog: Catalog, bad: Collection[bytes]) -> Hurt:
    """Everything that names one of the `bad` hashes."""
    if not bad:
        return Hurt()
    wanted = frozenset(bad)
    objects: list[HurtObject] = []
    blobs: list[bytes] = []
    async with aclosing(manifest_pieces(catalog, page_entries=PAGE_ENTRIES)) as pieces:
        async for piece in pieces:
            if wanted.isdisjoint(hashes_of(piece.entries)):
                continue
            blob = bytes.fromhex(piece.name.removeprefix("manifest "))
            if not blobs or blobs[-1] != blob:
                blobs.append(blob)
            if len(blobs) == BLOBS_AT_ONCE:
                objects += await hurt_objects(catalog, blobs, OBJECTS_MAX + 1 - len(objects))
                blobs = []
            if len(objects) > OBJECTS_MAX:
                break
    objects += await hurt_objects(catalog, blobs, max(0, OBJECTS_MAX + 1 - len(objects)))
    uploads = await hurt_uploads(catalog, list(wanted), OBJECTS_MAX + 1)
    return Hurt(
        tuple(objects[:OBJECTS_MAX]),
        tuple(uploads[:OBJECTS_MAX]),
        more=max(len(objects), len(uploads)) > OBJECTS_MAX,
    )
