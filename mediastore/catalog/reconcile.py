"""What a reconciliation after a restore writes in the catalog."""

from uuid import UUID

from mediastore.catalog.pool import Catalog


async def install_incarnation(
    catalog: Catalog, incarnation: UUID, *, counter: int, instead_of: UUID
) -> bool:
    """Begin a new incarnation. False: another has been installed meanwhile."""
    row = await catalog.fetch_value("reconcile_install", incarnation, counter, instead_of)
    return row is not None
