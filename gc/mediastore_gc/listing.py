"""Every key of the store in order, a page at a time: a live listing, or what an inventory says.

An audit merges this with the catalog's rows, so a key out of order would make one look missing and
another superfluous: it ends the audit. What is not a chunk's key is counted and left alone.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from mediastore.catalog.auditing import CopyName, HashRange
from mediastore.chunkstore.keys import PREFIX, parse_chunk_key
from mediastore.chunkstore.pages import pages_of
from mediastore.chunkstore.protocol import ChunkStore, Entry
from mediastore.errors import InvariantBroken

SIZE_MAX_BYTES = (1 << 31) - 1  # more than any chunk has, and what a row of doomed can say


@dataclass(frozen=True, slots=True)
class ListedPage:
    """Part of a listing: copies with their sizes, and how many keys are not a chunk's."""

    copies: tuple[tuple[CopyName, int], ...]
    foreign: int


async def live_pages(
    store: ChunkStore, range_: HashRange, after: CopyName
) -> AsyncGenerator[list[Entry], None]:
    """The store's own listing of a range, behind `after`."""
    prefix = PREFIX + range_.prefix
    start = after.key if after.generation >= 0 else ""
    async with aclosing(pages_of(store, prefix=prefix, after=start)) as pages:
        async for page in pages:
            yield page


async def checked_pages(pages: AsyncIterator[list[Entry]]) -> AsyncGenerator[ListedPage, None]:
    """The same pages, taken apart. Raises InvariantBroken at the first key out of order."""
    before = ""
    async for page in pages:
        for entry in page:
            if entry.key <= before:
                raise InvariantBroken(
                    f"the listing has {entry.key} behind {before}: it is not in order, and nothing "
                    "can be told from it"
                )
            before = entry.key
        yield _taken_apart(page)


def _taken_apart(page: Iterable[Entry]) -> ListedPage:
    copies, foreign = [], 0
    for entry in page:
        name = _copy_name(entry)
        if name is None:
            foreign += 1
        else:
            copies.append((name, entry.size))
    return ListedPage(tuple(copies), foreign)


def _copy_name(entry: Entry) -> CopyName | None:
    """None: not a chunk's key, or more bytes than a chunk can have."""
    try:
        name = CopyName(*parse_chunk_key(entry.key))
        return name if name.key == entry.key and entry.size <= SIZE_MAX_BYTES else None
    except ValueError:
        return None
