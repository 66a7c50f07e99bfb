"""Legal holds: nothing held is removed from the trash or any later stage.

The rules are in migrations/0015_pre_counts_and_holds.sql.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mediastore.catalog.pool import Catalog
from mediastore.errors import InvariantBroken, NotFound


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold on a tenant, on one of its `owner`s or on one `object`. `keys`: the distinct chunks of
    what had been removed before it was added.
    """

    id: int
    tenant: str
    owner: str | None
    object: UUID | None
    why: str
    created_at: datetime
    keys: int


@dataclass(frozen=True, slots=True)
class AddedHold:
    """`keys` that it saves from deletion; `claimed` of them were being deleted already."""

    hold: int
    keys: int
    claimed: int


async def add_hold(
    catalog: Catalog, *, tenant: str | None, owner: str | None, object_: UUID | None, why: str
) -> AddedHold:
    """Hold a tenant, an owner of it, or an object. Raises NotFound for what is not known."""
    row = await catalog.fetch_row("hold_add", tenant, owner, object_, why)
    if row is None:
        raise InvariantBroken("adding a hold gave no answer")
    return AddedHold(**dict(row))


async def list_holds(catalog: Catalog) -> list[Hold]:
    return [Hold(*row) for row in await catalog.fetch("holds_list")]


async def count_holds(catalog: Catalog) -> int:
    count: int = await catalog.fetch_value("holds_count")
    return count


async def holds_of(catalog: Catalog, tenant: str, owner: str, object_: UUID) -> list[Hold]:
    """The holds that an object is under; their keys are not counted."""
    return [Hold(*row) for row in await catalog.fetch("holds_of", tenant, owner, object_)]


async def drop_hold(catalog: Catalog, id_: int) -> bool:
    """False: there is none."""
    return await catalog.fetch_value("hold_remove", id_) is not None


async def remove_hold(catalog: Catalog, id_: int) -> None:
    """Raises NotFound."""
    if not await drop_hold(catalog, id_):
        raise NotFound(f"there is no hold {id_}")
