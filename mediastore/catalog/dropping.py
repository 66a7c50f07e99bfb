"""Dropping uploads in bounded steps (INV-4): 1 TB is a quarter of a million references.

The rules are in migrations/0013_pre_bounded_ends.sql and 0017_pre_truthful_ends.sql.
"""

from typing import Final
from uuid import UUID

from mediastore.catalog.pool import Catalog

RELEASED_ROWS_MAX: Final = 10_000  # of one transaction: some tenths of a second


async def terminate_upload(
    catalog: Catalog, tenant: str, id_: UUID, *, epoch: int | None = None, told: bool = False
) -> int | None:
    """Drop an upload and give its references up, of very many only some: the collector does the
    rest. How many acknowledged bytes it had. None: there is none. With an `epoch` only if that is
    still the upload's (INV-8): the acknowledged bytes are another writer's by now. `told`: with an
    event to its tenant.
    """
    dropped: int | None = await catalog.fetch_value(
        "upload_terminate", tenant, id_, epoch, RELEASED_ROWS_MAX, told
    )
    return dropped
