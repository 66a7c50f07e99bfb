"""Everything the catalog knows about one object, blob or chunk, for `explain`. Read only."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mediastore.catalog.pool import Catalog
from mediastore.catalog.undeleting import Tombstone
from mediastore.errors import InvariantBroken

NAMED_MAX = 1000
PAGE_MANIFESTS = 1000


@dataclass(frozen=True, slots=True)
class UploadFacts:
    """An upload that is no object yet."""

    tenant: str
    owner: str
    state: str
    offset: int
    length: int | None
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class BlobFacts:
    size: int
    refs: int
    created_at: datetime
    garbage_since: datetime | None
    chunks: int | None
    put_aside_since: datetime | None


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """An object that points at a blob."""

    id: UUID
    tenant: str
    owner: str
    deleted_at: datetime | None
    purge_at: datetime | None


@dataclass(frozen=True, slots=True)
class DoomedSum:
    """What is still doomed of a removed blob."""

    count: int
    bytes: int
    oldest: datetime | None
    newest: datetime | None
    claimed: int


@dataclass(frozen=True, slots=True)
class ChunkFacts:
    generation: int
    size: int
    refs: int
    stored: bool
    damaged_at: datetime | None


@dataclass(frozen=True, slots=True)
class DoomedFacts:
    """A doomed key of a chunk's hash."""

    generation: int
    size: int
    since: datetime
    claimed_at: datetime | None
    retry_at: datetime | None
    attempts: int
    last_error: str | None
    kept_by_recount: int | None
    holds: int


@dataclass(frozen=True, slots=True)
class ManifestPage:
    """How many manifests a page had, and which of them name the chunk, how often."""

    read: int
    naming: dict[bytes, int]


async def upload_facts(catalog: Catalog, id_: UUID) -> UploadFacts | None:
    row = await catalog.fetch_row("upload_find", id_)
    return None if row is None else UploadFacts(**dict(row))


async def blob_facts(catalog: Catalog, blob: bytes) -> BlobFacts | None:
    row = await catalog.fetch_row("blob_standing", blob)
    return None if row is None else BlobFacts(**dict(row))


async def objects_of_blob(catalog: Catalog, blob: bytes) -> list[ObjectFacts]:
    """Up to NAMED_MAX of them."""
    return [ObjectFacts(*row) for row in await catalog.fetch("blob_objects", blob, NAMED_MAX)]


async def sources_of_variant(catalog: Catalog, blob: bytes) -> list[tuple[bytes, str]]:
    """The blobs and transforms whose result this blob is, up to NAMED_MAX."""
    return [tuple(row) for row in await catalog.fetch("blob_variants", blob, NAMED_MAX)]


async def tombstones_of_blob(catalog: Catalog, blob: bytes) -> list[Tombstone]:
    """The newest first."""
    return [Tombstone(*row) for row in await catalog.fetch("blob_tombstones", blob, NAMED_MAX)]


async def unlinking_references(catalog: Catalog, blob: bytes) -> int:
    """References of this blob that are not released yet."""
    count: int = await catalog.fetch_value("blob_unlinking", blob)
    return count


async def doomed_of_tombstone(catalog: Catalog, tombstone: Tombstone) -> DoomedSum:
    row = await catalog.fetch_row("tombstone_doomed", tombstone.id)
    if row is None:
        raise InvariantBroken("counting doomed keys gave no answer")
    return DoomedSum(**dict(row))


async def chunk_facts(catalog: Catalog, hash_: bytes) -> ChunkFacts | None:
    row = await catalog.fetch_row("chunk_standing", hash_)
    return None if row is None else ChunkFacts(**dict(row))


async def doomed_facts(catalog: Catalog, hash_: bytes) -> list[DoomedFacts]:
    return [DoomedFacts(*row) for row in await catalog.fetch("chunk_doomed", hash_)]


async def quarantined_since(catalog: Catalog, hash_: bytes) -> datetime | None:
    since: datetime | None = await catalog.fetch_value("chunk_quarantined", hash_)
    return since


async def uploads_naming(catalog: Catalog, hash_: bytes) -> dict[UUID, int]:
    return {row["upload"]: row["times"] for row in await catalog.fetch("chunk_in_uploads", hash_)}


async def unlinking_naming(catalog: Catalog, hash_: bytes) -> dict[int, int]:
    return {row["id"]: row["times"] for row in await catalog.fetch("chunk_in_unlinking", hash_)}


async def manifests_about(catalog: Catalog) -> int:
    """How many manifests there are, by the database's own estimate."""
    count: int = await catalog.fetch_value("manifests_about")
    return count


async def manifests_naming(catalog: Catalog, hash_: bytes) -> AsyncGenerator[ManifestPage, None]:
    """Every manifest there is, in blob order: no index leads from a chunk to what names it."""
    after = b""
    while True:
        row = await catalog.fetch_row("chunk_in_manifests", after, hash_, PAGE_MANIFESTS)
        if row is None or row["last"] is None:
            return
        naming = {
            blob: times
            for blob, times in zip(row["blobs"], row["times"], strict=True)
            if times > 0  # the bytes may also stand across two entries
        }
        yield ManifestPage(row["rows"], naming)
        after = row["last"]
