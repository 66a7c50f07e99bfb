"""Uploads that have all their bytes and wait for their hash (state `finishing`), in the catalog.

Their job shows life in the row; one that does not can be taken over by a new epoch (INV-8).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from mediastore.catalog.digests import NO_DIGESTS, digest_columns
from mediastore.catalog.objects import Object, object_from_row
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload, new_epoch, upload_from_row
from mediastore.settings import ChunkingSettings

FINISH_TIMEOUT_SECONDS = 300  # some seconds for 1 TB: a quarter of a million chunks


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A committed chunk of an upload."""

    offset: int
    hash: bytes
    size: int
    generation: int


async def stored_chunks(
    catalog: Catalog, id_: UUID, *, start: int, end: int, limit: int
) -> list[StoredChunk]:
    """Committed chunks of an upload that begin before `end`, from the one that holds `start` on."""
    rows = await catalog.fetch("upload_chunks_from", id_, start, end, limit)
    return [StoredChunk(*row) for row in rows]


async def has_damaged_chunk(catalog: Catalog, id_: UUID) -> bool:
    """Is a chunk of this upload marked damaged, so that nobody can read it back?"""
    damaged: bool = await catalog.fetch_value("upload_damaged", id_)
    return damaged


async def touch_finishing(catalog: Catalog, upload: Upload, *, expires_seconds: int) -> bool:
    """Show that the finishing job lives. False: another job has taken over, or it is done."""
    row = await catalog.fetch_value(
        "upload_finishing_touch", upload.id, upload.epoch, expires_seconds
    )
    return row is not None


async def claim_finishing(catalog: Catalog, id_: UUID, *, stale_seconds: int) -> Upload | None:
    """Take a finishing upload over from a job that shows no life."""
    row = await catalog.fetch_row("upload_finishing_claim", id_, new_epoch(), stale_seconds)
    return None if row is None else upload_from_row(row)


async def stale_finishing(catalog: Catalog, *, stale_seconds: int, limit: int) -> list[UUID]:
    rows = await catalog.fetch("uploads_finishing_stale", stale_seconds, limit)
    return [row["id"] for row in rows]


async def finish(
    catalog: Catalog,
    upload: Upload,
    *,
    blob: bytes,
    size: int,
    chunking: ChunkingSettings,
    idempotency_key: str | None = None,
    digests: Mapping[str, bytes] = NO_DIGESTS,
) -> Object:
    """Make the object of an upload that has all its bytes, however many chunks they are. `digests`:
    of the whole content, by the algorithms declared. Raises BadDigest, IdempotencyKeyInUse,
    InvariantBroken.
    """
    row = await catalog.fetch_row_patiently(
        "verified_finish" if digests else "upload_finish",
        upload.id,
        upload.epoch,
        blob,
        size,
        chunking.size_min_bytes,
        chunking.size_average_bytes,
        chunking.size_max_bytes,
        idempotency_key,
        *digest_columns(digests),
        timeout_seconds=FINISH_TIMEOUT_SECONDS,
    )
    return object_from_row(row)
