"""Objects: what a user sees, one row each, pointing at one blob."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg


@dataclass(frozen=True, slots=True)
class Object:
    """An object's row. In the trash from `deleted_at` to `purge_at`."""

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
