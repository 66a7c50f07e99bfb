"""Legal erasure in the catalog: asked for, removed, marked, told of.

One function is one step in one transaction, and every step may be repeated. The rules are in
migrations/0018_pre_erasure.sql, 0038_pre_last_references.sql and 0044_pre_blob_quarantine.sql
(INV-6, INV-7).
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from mediastore.catalog.dropping import RELEASED_ROWS_MAX
from mediastore.catalog.pool import Catalog
from mediastore.errors import InvariantBroken, NotFound

OBJECTS_MAX = 1000  # of one transaction
ENTRIES_MAX = 10_000
CONTENTS_PAGE = 1000
_NO_ID = UUID(int=0)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Scope:
    """What an erasure means: a tenant, one of its `owner`s, or one `object`."""

    tenant: str
    owner: str | None = None
    object: UUID | None = None

    @property
    def name(self) -> str:
        """What somebody who wants it erased has to type."""
        return str(self.object or self.owner or self.tenant)


@dataclass(frozen=True, slots=True)
class ScopeContents:
    """How much there is of a scope. `purged` objects had been deleted, their bytes may still be
    there. `hold`: the first hold that keeps any of it.
    """

    live: int
    trash: int
    purged: int
    uploads: int
    bytes: int
    hold: int | None
    hold_why: str | None

    @property
    def is_empty(self) -> bool:
        return not (self.live or self.trash or self.purged or self.uploads)


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure and how far it is. `keys` were marked to go before their window, or are waited
    for: a worker had claimed them, or another erasure has marked them.
    """

    id: UUID
    tenant: str
    owner: str | None
    object: UUID | None
    why: str
    asked_at: datetime
    recorded_at: datetime | None
    removed_at: datetime | None
    marked_at: datetime | None
    finished_at: datetime | None
    keys: int
    key_bytes: int

    @property
    def scope(self) -> Scope:
        return Scope(self.tenant, self.owner, self.object)


@dataclass(frozen=True, slots=True)
class ErasureStanding:
    """What an erasure has come to. Keys that wait for a recount or a worker, and keys that wait for
    their window (the newest came at `window_newest`): somebody else had deleted them as well.
    Chunks that others still have are `shared` and stay.
    """

    objects: int
    uploads: int
    bytes: int
    waiting_keys: int
    waiting_bytes: int
    window_keys: int
    window_bytes: int
    window_newest: datetime | None
    shared_chunks: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class ErasedItem:
    """An object, or an upload that had not become one. `shared`: its blob is somebody else's too
    and stays.
    """

    id: UUID
    kind: str
    blob: bytes | None
    size: int
    shared: bool


async def tenant_of(catalog: Catalog, object_: UUID) -> str:
    """Whose an object or upload is, live, deleted or purged. Raises NotFound."""
    tenant: str | None = await catalog.fetch_value("erasure_tenant_of", object_)
    if tenant is not None:
        return tenant
    erased = await erasure_of(catalog, object_)
    if erased is None:
        raise NotFound(f"no object {object_} is known")
    raise NotFound(f"object {object_} was erased before: erasure {erased[0]}")


async def erasure_of(catalog: Catalog, object_: UUID) -> tuple[UUID, datetime] | None:
    """The erasure that an object has gone with, and when that was asked for."""
    row = await catalog.fetch_row("erasure_of_object", object_)
    return None if row is None else (row["id"], row["asked_at"])


async def require_tenant(catalog: Catalog, tenant: str) -> None:
    """Raises NotFound."""
    if not await catalog.fetch_value("erasure_tenant_known", tenant):
        raise NotFound(f"there is no tenant {tenant}")


async def scope_contents(catalog: Catalog, scope: Scope) -> ScopeContents:
    row = await catalog.fetch_row("erasure_scope", scope.tenant, scope.owner, scope.object)
    if row is None:
        raise InvariantBroken("looking at what is to be erased gave no answer")
    return ScopeContents(**dict(row))


async def unfinished_same(catalog: Catalog, scope: Scope) -> UUID | None:
    """An erasure under way that means all that is there of this scope."""
    found: UUID | None = await catalog.fetch_value(
        "erasure_unfinished_same", scope.tenant, scope.owner, scope.object
    )
    return found


async def add_erasure(
    catalog: Catalog, id_: UUID, scope: Scope, why: str, *, asked_at: datetime | None = None
) -> bool:
    """Ask for an erasure; with `asked_at` take one up again that this database does not know.
    False: it is known. Raises Held.
    """
    added: bool = await catalog.fetch_value(
        "erasure_add", id_, scope.tenant, scope.owner, scope.object, why, asked_at
    )
    return added


async def get_erasure(catalog: Catalog, id_: UUID) -> Erasure:
    """Raises NotFound."""
    row = await catalog.fetch_row("erasure_get", id_)
    if row is None:
        raise NotFound(f"there is no erasure {id_}")
    return Erasure(*row)


async def list_erasures(catalog: Catalog, *, unfinished: bool, limit: int) -> list[Erasure]:
    """The oldest first."""
    return [Erasure(*row) for row in await catalog.fetch("erasures_list", unfinished, limit)]


async def erasures_to_remove(catalog: Catalog, limit: int) -> list[Erasure]:
    """Those with rows that may be removed, the oldest first."""
    return [Erasure(*row) for row in await catalog.fetch("erasures_to_remove", limit)]


async def erasures_to_mark(catalog: Catalog, limit: int) -> list[UUID]:
    return [row["id"] for row in await catalog.fetch("erasures_to_mark", limit)]


async def known_erasures(catalog: Catalog, ids: Sequence[UUID]) -> set[UUID]:
    return {row["id"] for row in await catalog.fetch("erasures_known", list(ids))}


async def note_recorded(catalog: Catalog, id_: UUID) -> None:
    """The store has its record; from now on its rows may be removed."""
    await catalog.execute("erasure_recorded", id_)


async def erase_upload(catalog: Catalog, id_: UUID, *, rows: int = RELEASED_ROWS_MAX) -> bool:
    """Drop an upload, or some of it. False: there is none."""
    dropped: bool = await catalog.fetch_value("erase_upload", id_, rows)
    return dropped


async def erase_objects(
    catalog: Catalog, id_: UUID, after: UUID | None, limit: int = OBJECTS_MAX
) -> tuple[int, UUID]:
    """Remove live and deleted objects behind `after`; how many, and the last. Blobs of theirs that
    are counted too low are counted anew.
    """
    row = await catalog.fetch_row("erase_objects", id_, after or _NO_ID, limit)
    if row is None:
        raise InvariantBroken("erasing objects gave no answer")
    if row["mended"]:
        log.error("blobs_counted_anew", blobs=row["mended"], erasure=str(id_))
    return row["objects"], row["last"]


async def erase_purged(catalog: Catalog, id_: UUID, limit: int = OBJECTS_MAX) -> int:
    """Forget purged objects; how many."""
    erased: int = await catalog.fetch_value("erase_purged", id_, limit)
    return erased


async def erase_variants(catalog: Catalog, id_: UUID, limit: int = OBJECTS_MAX) -> int:
    """Remove the variants of what was erased, once nothing else needs their sources; how many."""
    erased: int = await catalog.fetch_value("erase_variants", id_, limit)
    return erased


async def note_removed(catalog: Catalog, id_: UUID) -> bool:
    """Record that nothing of its scope is left. False: something is, or may be."""
    removed: bool = await catalog.fetch_value("erasure_removed", id_)
    return removed


async def waits_for_transactions(catalog: Catalog, id_: UUID) -> bool:
    """Whether transactions are open that began before it was asked for."""
    waits: bool | None = await catalog.fetch_value("erasure_waits", id_)
    return bool(waits)


async def mark_keys(catalog: Catalog, id_: UUID, entries: int = ENTRIES_MAX) -> int:
    """Mark doomed keys to go before their window; how many references were looked at. 0: it is not
    time yet, or all is done.
    """
    return await catalog.fetch_value("erasure_mark", id_, entries) or 0


async def finish_erasures(catalog: Catalog) -> int:
    """Record which have no key left; how many."""
    finished: int = await catalog.fetch_value("erasures_finish")
    return finished


async def erasure_standing(catalog: Catalog, id_: UUID) -> ErasureStanding:
    row = await catalog.fetch_row("erasure_standing", id_)
    if row is None:
        raise InvariantBroken("counting what was erased gave no answer")
    return ErasureStanding(**dict(row))


async def erased_items(catalog: Catalog, id_: UUID) -> AsyncGenerator[list[ErasedItem], None]:
    """Everything that was erased, by pages in order of ids."""
    after = _NO_ID
    while rows := await catalog.fetch("erasure_contents", id_, after, CONTENTS_PAGE):
        after = rows[-1]["id"]
        yield [ErasedItem(*row) for row in rows]


async def old_erasures(catalog: Catalog, kept_seconds: int, limit: int) -> list[UUID]:
    """Those that finished so long ago."""
    return [row["id"] for row in await catalog.fetch("erasures_old", kept_seconds, limit)]


async def forget_erasures(catalog: Catalog, ids: Sequence[UUID]) -> int:
    forgotten: int = await catalog.fetch_value("erasures_forget", list(ids))
    return forgotten
