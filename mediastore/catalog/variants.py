"""Variants in the catalog: found, computed by one process at a time, stored, released.

Each function is one transaction and one round trip; the rules are in migrations/0034 and 0035. A
variant's result is a blob like any other, and its row is the reference to it (INV-4, INV-12).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import (
    BatchChunk,
    CommitChunk,
    IntentChunk,
    Upload,
    UploadDraft,
    new_epoch,
)
from mediastore.errors import InvariantBroken
from mediastore.settings import HOUR_SECONDS, ChunkingSettings

UPLOAD_SECONDS = HOUR_SECONDS
NOBODY = ""  # the tenant of uploads that become variants
TakeState = Literal["taken", "made", "busy", "failed"]


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant that is there. `frames` of the source that were seen: 2 may mean more."""

    result: bytes
    size: int
    width: int
    height: int
    frames: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Computation:
    """A variant that is being made, and the right to: whoever has another token has it instead."""

    blob: bytes
    transform: str
    token: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of taking a computation; `failed` is an error's code, or `same`."""

    state: TakeState
    failed: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a result beside its bytes."""

    width: int
    height: int
    frames: int


def new_computation(blob: bytes, transform: str) -> Computation:
    return Computation(blob, transform, new_epoch())


async def find_variants(
    catalog: Catalog, blob: bytes, transforms: Sequence[str]
) -> dict[str, Variant]:
    """Those of a blob's variants that are there, noted as used."""
    rows = await catalog.fetch("variants_find", blob, list(transforms))
    return {row["transform"]: Variant(*list(row)[1:]) for row in rows}


async def take_computation(catalog: Catalog, wanted: Computation, *, lease_seconds: float) -> Taken:
    """Become the one who makes a variant, or learn why not."""
    row = await catalog.fetch_row(
        "variant_take", wanted.blob, wanted.transform, wanted.token, lease_seconds
    )
    if row is None:
        raise InvariantBroken("taking a computation gave no answer")
    return Taken(cast("TakeState", row["state"]), row["failed"], row["detail"])


async def give_up_computation(catalog: Catalog, taken: Computation) -> None:
    """Whoever asks next may begin at once."""
    await catalog.execute("variant_give_up", taken.blob, taken.transform, taken.token)


async def fail_computation(
    catalog: Catalog, taken: Computation, code: str, detail: str, *, kept_seconds: float
) -> None:
    """Remember that it cannot be made, or needs not to be."""
    await catalog.execute(
        "variant_fail", taken.blob, taken.transform, taken.token, code, detail, kept_seconds
    )


async def begin_variant(
    catalog: Catalog,
    taken: Computation,
    picture: Picture,
    draft: UploadDraft,
    *,
    epoch: int,
    result: bytes,
    size: int,
    chunks: Sequence[BatchChunk],
) -> list[IntentChunk] | None:
    """The intent of a result, or None: its blob was there and whole, and the variant is made.

    Raises UploadTaken (another replica makes it), NotFound (the source is gone).
    """
    rows = await catalog.fetch(
        "variant_begin",
        taken.blob,
        taken.transform,
        taken.token,
        picture.width,
        picture.height,
        picture.frames,
        draft.id,
        draft.content_type,
        result,
        size,
        epoch,
        [chunk.hash for chunk in chunks],
        [chunk.size for chunk in chunks],
        [chunk.generation for chunk in chunks],
        UPLOAD_SECONDS,
    )
    if rows and rows[0]["linked"]:
        return None
    return [IntentChunk(*list(row)[1:]) for row in rows]


async def finish_variant(
    catalog: Catalog,
    taken: Computation,
    picture: Picture,
    upload: Upload,
    *,
    result: bytes,
    size: int,
    chunks: Sequence[CommitChunk],
    chunking: ChunkingSettings,
) -> None:
    """Its chunks are stored: the variant is there. Raises ChunkChanged (intend again), UploadTaken,
    NotFound.
    """
    await catalog.execute(
        "variant_finish",
        taken.blob,
        taken.transform,
        taken.token,
        picture.width,
        picture.height,
        picture.frames,
        upload.id,
        upload.epoch,
        result,
        size,
        [chunk.hash for chunk in chunks],
        [chunk.generation for chunk in chunks],
        [chunk.put for chunk in chunks],
        chunking.size_min_bytes,
        chunking.size_average_bytes,
        chunking.size_max_bytes,
    )


async def release_variants(
    catalog: Catalog, limit: int, *, revive_seconds: int, unused_seconds: int
) -> tuple[int, int]:
    """A batch of variants whose source goes, or that nobody has used, goes; how many, and how many
    results were put aside, as they are counted too low.
    """
    row = await catalog.fetch_row("variants_release", limit, revive_seconds, unused_seconds)
    if row is None:
        raise InvariantBroken("releasing variants gave no answer")
    return row["variants"], row["put_aside"]


async def sweep_variants(catalog: Catalog, kept_seconds: int, limit: int) -> int:
    """Drop what is remembered past its use; how many rows."""
    swept: int = await catalog.fetch_value("variants_sweep", kept_seconds, limit)
    return swept
