"""The length of an upload that was created without one."""

from dataclasses import replace

from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload


async def declare_length(catalog: Catalog, upload: Upload, length: int) -> Upload:
    """Say how long an upload is; once declared a length stays, and saying it again changes nothing.

    Raises BadLength when it contradicts what was declared or sent before, NotFound, UploadTaken,
    OffsetMismatch, UploadFinishing.
    """
    await catalog.fetch_value(
        "upload_declare_length", upload.id, upload.epoch, upload.offset, length
    )
    return replace(upload, length=length)
