"""What every upload works with, and the two things that happen to any upload: it is finished or
dropped.
"""

from dataclasses import dataclass

import structlog

from mediastore.catalog.dropping import terminate_upload
from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import Clock
from mediastore.errors import MediastoreError
from mediastore.memory import MemoryBudget
from mediastore.settings import Settings
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.admission import Admission
from mediastore.uploads.batch import BatchStore
from mediastore.uploads.finishing import Finisher
from mediastore.uploads.joining import Joiner
from mediastore.uploads.rechunking import Rechunker
from mediastore.uploads.running_hash import RunningHashes
from mediastore.uploads.trust import StoreTrust

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UploadParts:
    """The resources of this process that uploads share."""

    settings: Settings
    clock: Clock
    catalog: Catalog
    store: ChunkStore
    memory: MemoryBudget
    metrics: Metrics
    batches: BatchStore
    hashes: RunningHashes
    rechunker: Rechunker
    finisher: Finisher
    joiner: Joiner
    admission: Admission
    trust: StoreTrust

    def finished(self, made: Object) -> Object:
        """Count a finished upload."""
        self.hashes.forget(made.id)
        self.metrics.uploads_finished.inc()
        return made

    async def drop(self, upload: Upload) -> None:
        """Give up an upload that its writer holds; its references are released. One that another
        writer has taken over meanwhile stays.
        """
        dropped_bytes = await terminate_upload(
            self.catalog, upload.tenant, upload.id, epoch=upload.epoch
        )
        if dropped_bytes is not None:
            self.hashes.forget(upload.id)
            self.metrics.upload_abandoned(dropped_bytes)

    async def drop_quietly(self, upload: Upload) -> None:
        """`drop` after a failure: if this fails as well, the upload expires by itself."""
        try:
            await self.drop(upload)
        except MediastoreError as error:
            log.warning("upload_not_dropped", upload=str(upload.id), detail=error.detail)
