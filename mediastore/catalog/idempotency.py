"""Idempotency keys: what an earlier request with the same key has made. They are written with the
objects, in the transactions that make those.
"""

from collections.abc import Sequence

from mediastore.catalog.objects import Object, object_from_row
from mediastore.catalog.pool import Catalog


async def find_by_idempotency_keys(
    catalog: Catalog, tenant: str, keys: Sequence[str]
) -> dict[str, Object]:
    """The objects that earlier requests with these keys have made, by key."""
    rows = await catalog.fetch("idempotency_find", tenant, keys)
    return {row["key"]: object_from_row(row) for row in rows}
