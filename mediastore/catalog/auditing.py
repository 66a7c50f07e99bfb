"""What an audit of the catalog reads, and the little that it may mend.

Pages are one statement each, so each is of one moment; references are counted in one snapshot
(`counting.py`). Nothing here deletes: what leaks is sent down the ordinary way (INV-6, INV-7).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.keys import GENERATION_BITS, chunk_key
from mediastore.collector_errors import CollectorRefused
from mediastore.content.hashing import HASH_BYTES
from mediastore.errors import BadRequest, InvariantBroken

KeyState = Literal["stored", "unstored", "damaged", "doomed"]
_DIGITS = 2 * HASH_BYTES
_GENERATION_MAX = (1 << GENERATION_BITS) - 1


@dataclass(frozen=True, slots=True)
class HashRange:
    """The hashes that begin with `prefix`, in lower-case hex; all of them without.

    Raises BadRequest for anything else.
    """

    prefix: str = ""

    def __post_init__(self) -> None:
        if len(self.prefix) > _DIGITS or set(self.prefix) - set("0123456789abcdef"):
            raise BadRequest(
                f"a hash begins with up to {_DIGITS} lower-case hex digits, not {self.prefix!r}"
            )

    @property
    def first(self) -> bytes:
        return bytes.fromhex(self.prefix.ljust(_DIGITS, "0"))

    @property
    def last(self) -> bytes:
        return bytes.fromhex(self.prefix.ljust(_DIGITS, "f"))

    @property
    def share(self) -> float:
        """Of all hashes, which are as good as random."""
        return 16.0 ** -len(self.prefix)


@dataclass(frozen=True, slots=True)
class CopyName:
    """What names one copy of a chunk; sorts as its key does in the store."""

    hash: bytes
    generation: int

    @property
    def key(self) -> str:
        return chunk_key(self.hash, self.generation)

    @classmethod
    def before(cls, range_: HashRange) -> "CopyName":
        return cls(range_.first, -1)

    @classmethod
    def last_of(cls, range_: HashRange) -> "CopyName":
        return cls(range_.last, _GENERATION_MAX)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key that a row names; `size` in bytes. Only a `stored` one must be in the store."""

    hash: bytes
    generation: int
    size: int
    state: KeyState

    @property
    def name(self) -> CopyName:
        return CopyName(self.hash, self.generation)


@dataclass(frozen=True, slots=True)
class BlobCount:
    """A blob's `refs` and how many objects and variants point at it."""

    hash: bytes
    refs: int
    counted: int
    is_garbage: bool
    is_put_aside: bool


@dataclass(frozen=True, slots=True)
class UploadCover:
    """How an upload's acknowledged bytes are referenced; None: nothing can be said now."""

    id: UUID
    offset: int
    gap: bool | None
    reached: int | None
    stored: bool | None


@dataclass(frozen=True, slots=True)
class HurtObject:
    """An object of which a chunk is bad."""

    id: UUID
    tenant: str
    owner: str
    name: str
    blob: bytes


def just_before(first: bytes) -> bytes:
    """What sorts before `first` and behind every smaller hash."""
    number = int.from_bytes(first)
    return b"" if number == 0 else (number - 1).to_bytes(len(first))


async def key_rows(
    catalog: Catalog, after: CopyName, upto: CopyName, page: int
) -> AsyncGenerator[KeyRow, None]:
    """Every key behind `after` up to `upto` that a row names, in the store's order."""
    while rows := await catalog.fetch(
        "audit_keys", after.hash, after.generation, upto.hash, upto.generation, page
    ):
        for row in rows:
            yield KeyRow(*row)
        if len(rows) < page:
            return
        after = CopyName(rows[-1]["hash"], rows[-1]["generation"])


async def is_stored(catalog: Catalog, name: CopyName, *, marked_too: bool = False) -> bool:
    """Does a row still say that this copy is stored and, unless `marked_too`, undamaged?"""
    return bool(
        await catalog.fetch_value("audit_key_is_stored", name.hash, name.generation, marked_too)
    )


async def doom_orphans(
    catalog: Catalog,
    incarnation: UUID,
    orphans: Sequence[tuple[CopyName, int]],
    *,
    host_time: datetime,
    skew_max_seconds: float,
) -> tuple[int, int]:
    """Doom keys that no row names, each with its size; how many, and their bytes.

    Raises DatabaseRestored, CollectorPaused, ClockSkew.
    """
    row = await catalog.fetch_row(
        "audit_orphans_doom",
        incarnation,
        host_time,
        skew_max_seconds,
        [name.hash for name, _ in orphans],
        [name.generation for name, _ in orphans],
        [size for _, size in orphans],
    )
    if row is None:
        raise InvariantBroken("the catalog does not say what it doomed")
    return row["keys"], row["bytes"]


async def estimated_rows(catalog: Catalog, *tables: str, share: float = 1.0) -> int | None:
    """About how many rows a share of these tables has; None: not known. For progress alone."""
    rows: int = await catalog.fetch_value("audit_estimate", tables)
    return round(rows * share) or None


async def blob_counts(
    catalog: Catalog, range_: HashRange, after: bytes, page: int
) -> list[BlobCount]:
    """The next blobs of the range with what is counted for them."""
    rows = await catalog.fetch("audit_blobs", after, range_.last, page)
    return [BlobCount(*row) for row in rows]


async def upload_covers(catalog: Catalog, after: UUID, page: int) -> list[UploadCover]:
    rows = await catalog.fetch("audit_uploads", after, page)
    return [UploadCover(*row) for row in rows]


async def revived_keys(catalog: Catalog, limit: int) -> list[CopyName]:
    """Doomed keys that a chunk row names: there must be none (INV-3)."""
    return [CopyName(*row) for row in await catalog.fetch("audit_revived", limit)]


async def quarantined_hashes(catalog: Catalog, limit: int) -> list[bytes]:
    return [row["hash"] for row in await catalog.fetch("audit_quarantine", limit)]


async def mend_chunk(catalog: Catalog, name: CopyName, *, excess: int) -> bool:
    """Make a chunk's count right again that is `excess` too high, or below 0 too low."""
    return bool(await catalog.fetch_value("audit_chunk_mend", name.hash, name.generation, excess))


async def mend_blob(catalog: Catalog, blob: bytes) -> bool:
    """Make a blob's count and its garbage row right again."""
    return bool(await catalog.fetch_value("audit_blob_mend", blob))


async def hurt_objects(catalog: Catalog, blobs: Sequence[bytes], limit: int) -> list[HurtObject]:
    rows = await catalog.fetch("hurt_objects", blobs, limit)
    return [HurtObject(*row) for row in rows]


async def hurt_uploads(catalog: Catalog, hashes: Sequence[bytes], limit: int) -> list[UUID]:
    return [row["upload"] for row in await catalog.fetch("hurt_uploads", hashes, limit)]


@asynccontextmanager
async def alone(catalog: Catalog) -> AsyncIterator[None]:
    """Keeps others from mending at the same time: what two have counted must not be mended twice.

    Raises CollectorRefused.
    """
    async with catalog.connection() as connection:
        if not await connection.fetchval(catalog.statement("audit_lock")):
            raise CollectorRefused("another 'verify --repair' is under way")
        try:
            yield
        finally:
            await connection.fetchval(catalog.statement("audit_unlock"))
