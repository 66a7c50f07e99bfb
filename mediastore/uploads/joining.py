"""Joining: parts give their chunks to their final upload, in order, each once it is whole.

No byte is copied. Whoever notices that a part has become whole joins it (the request that sent its
last bytes, the one that makes the final, one that asks for the final), and a sweep does when a
process has died in between. Steps are bounded and go on where the last one came to.
"""

from uuid import UUID

import structlog

from mediastore.catalog.concatenation import (
    Joined,
    final_of_part,
    get_concatenation,
    join_parts,
    ready_finals,
)
from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload, get_upload, new_epoch
from mediastore.clock import Clock
from mediastore.content.hashing import BlobHasher
from mediastore.errors import MediastoreError
from mediastore.settings import Settings
from mediastore.uploads.finishing import Finisher
from mediastore.uploads.running_hash import RunningHashes

log = structlog.get_logger(__name__)

STALE_SECONDS = 10
SWEEP_SECONDS = 15
SWEEP_FINALS_MAX = 100


class Joiner:
    """Joins the parts of any final upload; owns none of them."""

    def __init__(
        self,
        catalog: Catalog,
        hashes: RunningHashes,
        finisher: Finisher,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._hashes = hashes
        self._finisher = finisher
        self._settings = settings
        self._clock = clock

    async def join(self, tenant: str, final: UUID) -> Object | None:
        """Join what can be joined; after the last part, wait a while for the object.

        Raises TooLarge when the parts have too many bytes together, and what finishing raises.
        """
        upload = await self._joined(tenant, final)
        if upload is None:
            return None
        return await self.finish(upload)

    async def finish(self, upload: Upload) -> Object | None:
        """Finish a final that this process has made whole; None: its job is still running."""
        return await self._finisher.finish(upload, await self._hasher(upload))

    async def part_came(self, part: Upload) -> None:
        """A part has all its bytes: if its final waits for it, join it. Its sender does not wait
        for the object, and does not learn what is wrong with the final: who asks for that does.
        """
        final = await final_of_part(self._catalog, part.id)
        if final is not None:
            await self._join_and_start(part.tenant, final)

    async def sweep(self) -> None:
        """For ever: join what nobody has joined, even if nobody asks."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            try:
                ready = await ready_finals(
                    self._catalog, stale_seconds=STALE_SECONDS, limit=SWEEP_FINALS_MAX
                )
            except MediastoreError as error:
                log.warning("joining_sweep_failed", code=error.code, detail=error.detail)
                continue
            for tenant, final in ready:
                await self._join_and_start(tenant, final)

    async def _join_and_start(self, tenant: str, final: UUID) -> None:
        try:
            upload = await self._joined(tenant, final)
            if upload is not None:
                _ = self._finisher.start(upload, await self._hasher(upload))
        except MediastoreError as error:
            log.warning("joining_failed", upload=str(final), code=error.code, detail=error.detail)

    async def _joined(self, tenant: str, final: UUID) -> Upload | None:
        """Join what can be joined. The final, if this has made it whole: its epoch is ours."""
        epoch = new_epoch()
        joined: Joined | None = Joined.MORE
        while joined is Joined.MORE:
            joined = await join_parts(
                self._catalog,
                final,
                epoch=epoch,
                size_max_bytes=self._settings.uploads.size_max_bytes,
                expires_seconds=self._settings.uploads.expires_seconds,
            )
        return await get_upload(self._catalog, tenant, final) if joined is Joined.WHOLE else None

    async def _hasher(self, upload: Upload) -> BlobHasher:
        """What this process has hashed of the first part is the beginning of the whole."""
        concatenation = await get_concatenation(self._catalog, upload.tenant, upload.id)
        if concatenation is None:
            return BlobHasher()
        return self._hashes.take(concatenation.first_part, upload.offset)
