"""Listings as generators that a wrapper can close early."""

from collections.abc import AsyncGenerator

from mediastore.chunkstore.protocol import ChunkStore, Entry


async def pages_of(
    store: ChunkStore, *, prefix: str, after: str
) -> AsyncGenerator[list[Entry], None]:
    """The pages of `store.list`; closing this (`contextlib.aclosing`) closes that too."""
    pages = store.list(prefix=prefix, after=after)
    try:
        async for page in pages:
            yield page
    finally:
        if isinstance(pages, AsyncGenerator):
            await pages.aclose()
