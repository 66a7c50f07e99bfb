"""Undelete: objects from the trash, purged ones from garbage, and removed ones by copying.

A doomed key never comes back (INV-3). So what was removed is uploaded again from its doomed keys,
chunk by verified chunk, through the same transactions as any upload (INV-1, INV-2, INV-4, INV-8):
a crash leaves an upload that expires. A hold keeps collectors from the keys meanwhile.
"""

import asyncio
from dataclasses import dataclass, replace
from uuid import UUID

from mediastore.catalog import undeleting as purged_objects
from mediastore.catalog.dropping import terminate_upload
from mediastore.catalog.explaining import blob_facts
from mediastore.catalog.holds import add_hold, drop_hold, list_holds
from mediastore.catalog.pool import Catalog
from mediastore.catalog.undeleting import ManifestEntry, PurgedObject, Tombstone
from mediastore.catalog.uploads import (
    BatchChunk,
    CommitChunk,
    IntentChunk,
    Upload,
    UploadDraft,
    commit,
    commit_and_finish,
    create_upload,
    intend,
)
from mediastore.chunkstore.copies import verified_body
from mediastore.chunkstore.keys import chunk_key, new_generation
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.collector_errors import BytesGone
from mediastore.content import checksum
from mediastore.content.hashing import BlobHasher
from mediastore.errors import ChunkChanged, Conflict, InvariantBroken, MediastoreError, NotFound
from mediastore.settings import DAY_SECONDS, ChunkingSettings
from mediastore_gc.progress import Progress

BATCH_BYTES = 32 * 1024 * 1024
ATTEMPTS_MAX = 10
WHY_HELD = "undelete is under way"


@dataclass(frozen=True, slots=True)
class Recoverable:
    """An object that can come back from `stage`: trash, garbage (its blob has a row) or doomed. Of
    its distinct chunks `to_copy` are, and `gone` cannot be read any more.
    """

    id: UUID
    tenant: str
    owner: str
    name: str
    size: int
    stage: str
    to_copy: int = 0
    gone: int = 0


class Undeleter:
    """Looks at what can come back, and brings it back."""

    def __init__(
        self, catalog: Catalog, store: ChunkStore, chunking: ChunkingSettings, progress: Progress
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._chunking = chunking
        self._progress = progress

    async def look(self, target: UUID | bytes) -> list[Recoverable]:
        """The object of that id, or every purged object of that blob.

        Raises NotFound when nothing is remembered, Conflict when the object is live.
        """
        if isinstance(target, bytes):
            found = await purged_objects.purged_of_blob(self._catalog, target)
            if not found:
                raise NotFound("no purged object of that blob is remembered")
            return [await self._judge(each) for each in found]
        object_ = await purged_objects.find_object(self._catalog, target)
        if object_ is not None and object_.deleted_at is None:
            raise Conflict("the object is not deleted")
        if object_ is not None:
            return [
                Recoverable(
                    object_.id, object_.tenant, object_.owner, object_.name, object_.size, "trash"
                )
            ]
        return [await self._judge(await self._purged(target))]

    async def bring_back(self, wanted: Recoverable) -> None:
        """Raises BytesGone, NotFound, Conflict."""
        if wanted.stage == "trash":
            if not await purged_objects.untrash(self._catalog, wanted.id):
                raise Conflict("the object has left the trash meanwhile")
            return
        if await purged_objects.restore_purged(self._catalog, wanted.id):
            return
        try:
            await self._copy_back(await self._purged(wanted.id))
        except MediastoreError as error:
            # Another undelete may have been quicker: then it is back, whatever this one met.
            object_ = await purged_objects.find_object(self._catalog, wanted.id)
            if object_ is None:
                raise
            if object_.deleted_at is not None:
                raise Conflict("the object was brought back and deleted again meanwhile") from error

    async def _purged(self, id_: UUID) -> PurgedObject:
        purged = await purged_objects.find_purged(self._catalog, id_)
        if purged is None:
            raise NotFound("no such object, deleted or purged, is remembered")
        return purged

    async def _judge(self, purged: PurgedObject) -> Recoverable:
        seen = Recoverable(
            purged.id, purged.tenant, purged.owner, purged.name, purged.size, "garbage"
        )
        if await blob_facts(self._catalog, purged.blob) is not None:
            return seen
        tombstone = await self._tombstone(purged)
        standing = await purged_objects.tombstone_standing(self._catalog, tombstone)
        return replace(seen, stage="doomed", to_copy=standing.doomed, gone=standing.gone)

    async def _tombstone(self, purged: PurgedObject) -> Tombstone:
        tombstone = await purged_objects.newest_tombstone(self._catalog, purged.blob)
        if tombstone is None:
            raise BytesGone(f"what object {purged.id} was made of is not known any more")
        return tombstone

    async def _copy_back(self, purged: PurgedObject) -> None:
        """Under a hold, so that nothing is claimed between the first look and the last byte."""
        added = await add_hold(
            self._catalog, tenant=None, owner=None, object_=purged.id, why=WHY_HELD
        )
        try:
            await self._upload(purged)
            await purged_objects.forget_purged(self._catalog, purged.id)
        except BaseException:
            await drop_hold(self._catalog, added.hold)
            raise
        # With it go those that attempts before have left: the object is back.
        for hold in await list_holds(self._catalog):
            if (hold.object, hold.why) == (purged.id, WHY_HELD):
                await drop_hold(self._catalog, hold.id)

    async def _upload(self, purged: PurgedObject) -> None:
        tombstone = await self._tombstone(purged)
        standing = await purged_objects.tombstone_standing(self._catalog, tombstone)
        if standing.gone:
            raise BytesGone(
                f"{standing.gone} chunks of object {purged.id} are being deleted or gone"
            )
        # One that an earlier attempt has left.
        await terminate_upload(self._catalog, purged.tenant, purged.id)
        self._progress.begin("copying", "bytes", purged.size)
        draft = UploadDraft(
            purged.id,
            purged.tenant,
            purged.owner,
            purged.name,
            purged.content_type,
            purged.metadata,
            "raw",
            purged.size,
        )
        upload = await self._begin(draft)
        try:
            await self._fill(upload, purged.blob, tombstone)
        except BaseException:
            await terminate_upload(self._catalog, purged.tenant, purged.id)
            raise

    async def _begin(self, draft: UploadDraft) -> Upload:
        try:
            return await create_upload(self._catalog, draft, expires_seconds=DAY_SECONDS)
        except InvariantBroken as error:
            if "uploads_pkey" not in error.detail:
                raise
            raise Conflict(f"object {draft.id} is being brought back by somebody else") from None

    async def _fill(self, upload: Upload, blob: bytes, tombstone: Tombstone) -> None:
        whole, batch, size = BlobHasher(), list[ManifestEntry](), 0
        async for entries in purged_objects.tombstone_entries(self._catalog, tombstone):
            for entry in entries:
                if batch and size + entry.size > BATCH_BYTES:
                    upload = await self._store_batch(upload, batch, whole)
                    batch, size = [], 0
                batch.append(entry)
                size += entry.size
        await self._store_batch(upload, batch, whole, finish=blob)

    async def _store_batch(
        self,
        upload: Upload,
        batch: list[ManifestEntry],
        whole: BlobHasher,
        finish: bytes | None = None,
    ) -> Upload:
        """Read and verify, intend, PUT, commit; with `finish`, the blob to be, make the object."""
        bodies = await self._read(batch)
        for entry in batch:
            whole.update(bodies[entry.hash])
        if finish is not None and whole.digest() != finish:
            raise InvariantBroken(f"the chunks of blob {finish.hex()} do not make it up")
        size = sum(entry.size for entry in batch)
        for _ in range(ATTEMPTS_MAX):
            chunks = await self._intend_and_put(upload, batch, bodies)
            try:
                offset = await self._commit(upload, size, chunks, finish)
            except ChunkChanged:
                continue
            self._progress.advance(size)
            return replace(upload, offset=offset)
        raise Conflict(f"the chunks of upload {upload.id} changed {ATTEMPTS_MAX} times")

    async def _intend_and_put(
        self, upload: Upload, batch: list[ManifestEntry], bodies: dict[bytes, bytes]
    ) -> list[CommitChunk]:
        if not batch:  # an empty file
            return []
        rows = [BatchChunk(entry.hash, entry.size, new_generation()) for entry in batch]
        intended = await intend(self._catalog, upload, rows, expires_seconds=DAY_SECONDS)
        return await asyncio.gather(*(self._put(chunk, bodies) for chunk in intended))

    async def _commit(
        self, upload: Upload, size: int, chunks: list[CommitChunk], finish: bytes | None
    ) -> int:
        if finish is None:
            return await commit(
                self._catalog, upload, size, chunks, finishing=False, expires_seconds=DAY_SECONDS
            )
        await commit_and_finish(
            self._catalog,
            upload,
            size,
            chunks,
            blob=finish,
            chunking=self._chunking,
            idempotency_key=None,
        )
        return upload.offset + size

    async def _read(self, batch: list[ManifestEntry]) -> dict[bytes, bytes]:
        """Every distinct chunk's bytes, verified."""
        hashes = list(dict.fromkeys(entry.hash for entry in batch))
        copies = await purged_objects.chunk_copies(self._catalog, hashes)
        bodies = await asyncio.gather(
            *(self._read_one(hash_, copies.get(hash_, [])) for hash_ in hashes)
        )
        return dict(zip(hashes, bodies, strict=True))

    async def _read_one(self, hash_: bytes, generations: list[int]) -> bytes:
        for generation in generations:
            body = await verified_body(self._store, chunk_key(hash_, generation), hash_)
            if body is not None:
                return body
        raise BytesGone(f"chunk {hash_.hex()} cannot be read under any of its keys")

    async def _put(self, chunk: IntentChunk, bodies: dict[bytes, bytes]) -> CommitChunk:
        needed = not chunk.stored or chunk.damaged
        if needed:
            body = bodies[chunk.hash]
            key = chunk_key(chunk.hash, chunk.generation)
            await self._store.put(key, body, crc32=checksum.crc32(body))
        return CommitChunk(chunk.hash, chunk.generation, needed)
