"""The length of an upload that was created without one."""

from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload, upload_from_row


async def declare_length(catalog: Catalog, upload: Upload, length: int) -> Upload | None:
    """Give an upload its length. None: it has another writer by now, or another length."""
    row = await catalog.fetch_row("upload_declare_length", upload.id, upload.epoch, length)
    return None if row is None else upload_from_row(row)
