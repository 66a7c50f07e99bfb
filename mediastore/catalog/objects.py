"""Objects: what a user sees, one row each, pointing at one blob."""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from mediastore.catalog.pictures import UNPICTURED, Pictured, pictured_from_row
from mediastore.catalog.pool import Catalog

DELETED_CHANNEL = "mediastore_deleted"


@dataclass(frozen=True, slots=True)
class Object:
    """An object's row. In the trash from `deleted_at` to `purge_at`. `picture` is known of objects
    that were read, not of those that have just been made.
    """

    id: UUID
    tenant: str
    owner: str
    name: str
    blob: bytes
    content_type: str
    size: int
    metadata: dict[str, Any]
    created_at: datetime
    deleted_at: datetime | None
    purge_at: datetime | None
    picture: Pictured = UNPICTURED


def object_from_row(row: asyncpg.Record) -> Object:
    """An Object from a row that has all columns of the table."""
    return Object(
        row["id"],
        row["tenant"],
        row["owner"],
        row["name"],
        row["blob"],
        row["content_type"],
        row["size"],
        json.loads(row["metadata"]),
        row["created_at"],
        row["deleted_at"],
        row["purge_at"],
    )


def _read_object(row: asyncpg.Record) -> Object:
    return replace(object_from_row(row), picture=pictured_from_row(row))


async def get_object(catalog: Catalog, tenant: str, id_: UUID) -> Object | None:
    """A tenant's object, in the trash or not."""
    row = await catalog.fetch_row("object_get", tenant, id_)
    return None if row is None else _read_object(row)


async def get_upload_state(catalog: Catalog, tenant: str, id_: UUID) -> str | None:
    """`open` or `finishing` while the upload that becomes this object is under way."""
    state: str | None = await catalog.fetch_value("upload_state", tenant, id_)
    return state


async def list_objects(
    catalog: Catalog,
    tenant: str,
    *,
    owner: str | None,
    trash: bool,
    before: UUID | None,
    limit: int,
) -> list[Object]:
    """A tenant's live objects, or those in its trash, newest first, those older than `before`."""
    query = "object_list_trash" if trash else "object_list"
    if owner is None:
        rows = await catalog.fetch(query, tenant, before, limit)
    else:
        rows = await catalog.fetch(f"{query}_of_owner", tenant, before, limit, owner)
    return [_read_object(row) for row in rows]


async def change_object(
    catalog: Catalog,
    tenant: str,
    id_: UUID,
    *,
    name: str | None = None,
    owner: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Object | None:
    """Replace what is given of a live object; None when there is no such live object."""
    packed = None if metadata is None else json.dumps(metadata)
    row = await catalog.fetch_row("object_change", tenant, id_, name, owner, packed)
    return None if row is None else _read_object(row)


async def trash_object(catalog: Catalog, tenant: str, id_: UUID) -> Object | None:
    """Put a live object into the trash, and tell every replica; None when there is no such one.

    From the commit on nobody reads it (INV-10); its blob keeps its reference until the purge.
    """
    row = await catalog.fetch_row("object_trash", tenant, id_)
    return None if row is None else _read_object(row)


async def restore_object(catalog: Catalog, tenant: str, id_: UUID) -> Object | None:
    """Take an object out of the trash; None when it is not there or its time is over."""
    row = await catalog.fetch_row("object_restore", tenant, id_)
    return None if row is None else _read_object(row)
