"""Where a blob's bytes are: its chunks' places, asked of the catalog by byte offset and remembered
if few.

A place may be out of date in one respect only, the generation: which bytes are where never changes,
since every chunk is checked against the hash that the place names (INV-9). So a copy that is not
found is asked for again with `fresh`, and nothing else needs to expire.
"""

from collections import OrderedDict

from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import ChunkPlace, find_chunks
from mediastore.errors import ContentMissing, InvariantBroken

PAGE_ENTRIES = 64
REMEMBERED_BYTES_MAX = 128 * 1024 * 1024  # of a blob: about a page
REMEMBERED_BLOBS_MAX = 4096


class Layouts:
    """Places of chunks in blobs."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._remembered: OrderedDict[bytes, list[ChunkPlace]] = OrderedDict()

    async def places(
        self, blob: bytes, size: int, start: int, end: int, *, fresh: bool = False
    ) -> list[ChunkPlace]:
        """Some of the places that hold bytes `start` to `end`, in order, from the first on.

        Raises ContentMissing when the catalog has no manifest (any more), CatalogUnavailable.
        """
        remembered = None if fresh else self._remembered.get(blob)
        if remembered is None:
            whole = size <= REMEMBERED_BYTES_MAX
            asked = (0, size) if whole else (start, end)
            remembered = await find_chunks(self._catalog, blob, *asked, limit=PAGE_ENTRIES)
            if whole and remembered and remembered[0].start == 0 and remembered[-1].end == size:
                self._remember(blob, remembered)
            elif whole and start and (not remembered or remembered[-1].end <= start):
                remembered = await find_chunks(self._catalog, blob, start, end, limit=PAGE_ENTRIES)
        else:
            self._remembered.move_to_end(blob)
        return _from(start, end, remembered)

    def _remember(self, blob: bytes, places: list[ChunkPlace]) -> None:
        self._remembered[blob] = places
        self._remembered.move_to_end(blob)
        if len(self._remembered) > REMEMBERED_BLOBS_MAX:
            self._remembered.popitem(last=False)


def _from(start: int, end: int, places: list[ChunkPlace]) -> list[ChunkPlace]:
    wanted = [place for place in places if place.end > start and place.start < end]
    if not wanted:
        raise ContentMissing("the catalog has no manifest for this content")
    reached = wanted[0].start
    for place in wanted:
        if place.start != reached or place.end <= place.start:
            raise InvariantBroken("a manifest's entries do not follow each other")
        reached = place.end
    if wanted[0].start > start:
        raise InvariantBroken("a manifest has a gap")
    return wanted
