"""An upload's second pass, in the catalog: its content cut again (INV-1, INV-2, INV-8).

The cursor of the pass is `Upload.rechunked`; intent and commit hold only where it stands, and only
for the epoch's holder. The rules are in migrations/0007_pre_joining.sql.
"""

from collections.abc import Sequence

from mediastore.catalog.dropping import RELEASED_ROWS_MAX
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import (
    BatchChunk,
    CommitChunk,
    IntentChunk,
    Upload,
    commit_columns,
)
from mediastore.errors import InvariantBroken

# The last batch gives up all that its last chunk replaces, at worst every fragment there is.
COMMIT_TIMEOUT_SECONDS = 300


async def begin_rechunking(catalog: Catalog, upload: Upload) -> int:
    """Where the pass goes on; what an earlier one has left undone is given up. Raises NotFound,
    UploadTaken.
    """
    while True:
        row = await catalog.fetch_row("rechunk_begin", upload.id, upload.epoch, RELEASED_ROWS_MAX)
        if row is None:
            raise InvariantBroken("a re-chunking that begins has no cursor")
        if not row["tidied"]:
            cursor: int = row["cursor"]
            return cursor


async def intend_rechunked(
    catalog: Catalog,
    upload: Upload,
    chunks: Sequence[BatchChunk],
    *,
    cursor: int,
    expires_seconds: int,
) -> list[IntentChunk]:
    """Reference a batch at the cursor; one answer for each distinct hash. Raises NotFound,
    UploadTaken.
    """
    rows = await catalog.fetch(
        "rechunk_intent",
        upload.id,
        upload.epoch,
        cursor,
        [chunk.hash for chunk in chunks],
        [chunk.size for chunk in chunks],
        [chunk.generation for chunk in chunks],
        expires_seconds,
    )
    return [IntentChunk(*row) for row in rows]


async def commit_rechunked(
    catalog: Catalog, upload: Upload, size: int, chunks: Sequence[CommitChunk], *, cursor: int
) -> None:
    """Move the cursor past a batch of `size` bytes whose chunks are stored.

    Raises what `intend_rechunked` raises, and ChunkChanged: intend the batch again.
    """
    await catalog.fetch_row_patiently(
        "rechunk_commit",
        upload.id,
        upload.epoch,
        cursor,
        size,
        *commit_columns(chunks),
        timeout_seconds=COMMIT_TIMEOUT_SECONDS,
    )


async def settle(catalog: Catalog, upload: Upload) -> bool:
    """Make what was cut again the upload's chunks, so that it can be finished or joined. False: a
    pass is under way and has to reach the end first. Raises NotFound, UploadTaken.
    """
    while True:
        changed = await catalog.fetch_value(
            "rechunk_settle", upload.id, upload.epoch, RELEASED_ROWS_MAX
        )
        if not changed:
            return changed is not None
