"""The upload session: what one request does to one upload, from its first byte to its last.

States of a session: *unborn* (no row yet: a body that may turn out to fit in memory), *open* (a
row, batches are stored one behind the other while the next one fills; each is acknowledged, or
staged while the body has yet to be verified), *done* (an object, or an offset that was
acknowledged). Keeps INV-1 (only commit acknowledges), INV-8 (every step names epoch
and offset) and the memory budget: what a session cannot hold it stores, and while it waits for its
client it lets go when others need the room.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mediastore.catalog.digests import NO_DIGESTS
from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import CommitChunk, Upload, UploadDraft, create_upload
from mediastore.content.hashing import BlobHasher
from mediastore.errors import ChecksumMismatch
from mediastore.memory import Reservation
from mediastore.uploads.batch import Batch, Commit
from mediastore.uploads.body import Body, BodyEnd
from mediastore.uploads.body_check import BodyCheck
from mediastore.uploads.bounds import Bounds
from mediastore.uploads.cutting import Cutter, NamedChunk
from mediastore.uploads.declared_type import ContentCheck
from mediastore.uploads.ending import store_last_batch, store_whole_body
from mediastore.uploads.fragments import refuse_more_fragments
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.pipeline import Pipeline
from mediastore.uploads.policy import UploadPolicy
from mediastore.uploads.received import Received
from mediastore.uploads.staging import commit_batch, stage_batch, unstage_quietly

SHED_MIN_BYTES = 64 * 1024


class Session:
    """Receives one body. Used once."""

    def __init__(
        self,
        parts: UploadParts,
        subject: UploadDraft | Upload,
        policy: UploadPolicy,
        *,
        keeps_broken: bool,
        ends_with_body: bool,
        body_digests: Mapping[str, bytes] = NO_DIGESTS,
        body_max_bytes: int | None = None,
        acknowledged: Callable[[int], None] | None = None,
    ) -> None:
        """`keeps_broken`: the client knows where to resume, so what came of a broken body stays.
        `ends_with_body`: the body's end is the upload's end. `acknowledged` is told each offset
        that was committed while more of the body comes.
        `body_digests`: what this body must have; all of it is acknowledged at once, or nothing.
        """
        self._parts = parts
        self._policy = policy
        self._content = ContentCheck(parts, policy)
        self._draft = subject if isinstance(subject, UploadDraft) else None
        self._keeps_broken = keeps_broken
        self._bounds = Bounds.of(
            subject, policy.size_max_bytes, body_max_bytes, ends_with_body=ends_with_body
        )
        upload = subject if isinstance(subject, Upload) else None
        self._received = 0 if upload is None else upload.offset
        self._pipeline = Pipeline(parts, upload, start=self._received)
        self._acknowledged = acknowledged
        self._check = BodyCheck(body_digests)
        self._staged_bytes = 0
        self._ends_at: int | None = None  # where the body ends, once that is known
        self._hasher = (
            BlobHasher(subject.declared_digests)
            if isinstance(subject, UploadDraft)
            else parts.hashes.take(subject)
        )
        self._hasher_before = self._hasher.copy() if body_digests else None
        self._memory = Reservation(parts.memory, parts.settings.memory.wait_max_seconds, body=True)
        self._cutter = Cutter(
            parts.settings.chunking,
            self._memory,
            self._hasher if self._hasher.offset == self._received else None,
            self._check.digester if body_digests else None,
        )
        self._filling: list[NamedChunk] = []
        self._filling_bytes = 0

    @property
    def upload(self) -> Upload | None:
        """The row as of the latest commit; None while there is none."""
        return self._pipeline.row

    def adopt(self, pieces: Sequence[bytes], memory: Reservation) -> None:
        """A new body begins with `pieces`, read before, held in `memory`. Raises TooLarge."""
        self._received = size = sum(map(len, pieces))
        self._bounds.check(size)
        self._memory.take_from(memory, size)
        for piece in pieces:
            self._cutter.feed(piece)

    async def receive(self, body: Body) -> Received:
        """Store what the body brings and, when that makes the upload whole, finish it.

        Raises what intents, PUTs and commits raise; TooLarge for a body past the declared length.
        Whatever was acknowledged before stays acknowledged.
        """
        try:
            while (piece := await self._read(body)) is not None:
                if piece:
                    await self._admit(piece, body)
            return await self._end(body)
        except BaseException:
            await self._pipeline.abandon()
            if self.upload is not None:
                if self._keeps_broken:
                    await self._unstage(self.upload)
                else:
                    await self._parts.drop_quietly(self.upload)
            raise
        finally:
            try:
                await self._pipeline.abandon()
            finally:  # it may be cancelled once more meanwhile
                self._memory.close()

    @property
    def _held_bytes(self) -> int:
        return self._cutter.buffered_bytes + self._filling_bytes

    async def _read(self, body: Body) -> bytes | None:
        # Asked to, by an empty piece; or others began to wait while this session was busy and could
        # not be asked.
        if self._memory.starved and self._held_bytes >= SHED_MIN_BYTES:
            await self._let_go()
            body.forgive()
        with self._memory.sheddable(body.wake):
            return await body.read()

    async def _admit(self, piece: bytes, body: Body) -> None:
        """Take a piece in, making room for it first."""
        refuse_more_fragments(self._parts.settings, self.upload)
        self._received += len(piece)
        self._bounds.check(self._received)
        self._parts.metrics.bytes_received.inc(len(piece))
        if not self._memory.try_grow(len(piece)):
            if self._held_bytes >= SHED_MIN_BYTES or self._pipeline.busy:
                await self._let_go()
            await self._memory.grow(len(piece))
            body.forgive()
        self._cutter.feed(piece)
        chunks = await self._cutter.take()
        if chunks:
            self._fill(chunks)
            if self._filling_bytes >= self._parts.settings.uploads.batch_max_bytes:
                await self._store_filling()
                body.forgive()

    def _fill(self, chunks: list[NamedChunk]) -> None:
        self._filling += chunks
        self._filling_bytes += sum(len(chunk.data) for chunk in chunks)

    async def _let_go(self) -> None:
        """Store everything that is held, partial chunk included, so that its memory comes free."""
        self._fill(await self._cutter.flush())
        await self._store_filling()
        await self._pipeline.settle()

    async def _end(self, body: Body) -> Received:
        end = body.end or BodyEnd.WHOLE
        if end is not BodyEnd.WHOLE and (not self._keeps_broken or self.upload is None):
            await self._drop()
            return Received(end, 0, None, None)
        if self._check.pending and end is not BodyEnd.WHOLE and self.upload is not None:
            await self._pipeline.abandon()
            await self._unstage(self.upload)
            return Received(end, self.upload.offset, self.upload, None)
        self._fill(await self._cutter.flush())
        await self._verify()
        if not self._bounds.is_whole(self._received, end):
            self._ends_at = self._received
            await self._store_filling()
            await self._pipeline.settle()
            self._keep_hasher()
            offset = 0 if self.upload is None else self.upload.offset
            return Received(end, offset, self.upload, None)
        made = await self._complete()
        return Received(end, self._received, self.upload, made)

    async def _verify(self) -> None:
        """Raises ChecksumMismatch, with the offset that has not moved."""
        if self._check.pending:
            await self._pipeline.settle()
        try:
            self._check.pass_or_raise()
        except ChecksumMismatch as error:
            if self.upload is not None and self._keeps_broken:
                error.members["offset"] = self.upload.offset
            raise

    async def _complete(self) -> Object | None:
        await self._look_at_content(ends=True)
        batch = Batch(tuple(self._filling), self._staged_bytes)
        if self._draft is not None and self.upload is None:
            return await store_whole_body(self._parts, self._draft, batch, self._hasher)
        made = await store_last_batch(self._parts, self._pipeline, batch, self._hasher)
        if made is None:  # what the answer acknowledges is the row as it stands now
            upload, whole = self._pipeline.upload, self._received
            self._pipeline.row = replace(upload, offset=whole, length=whole, state="finishing")
        return made

    async def _drop(self) -> None:
        await self._pipeline.abandon()
        if self.upload is not None:
            await self._parts.drop(self.upload)
            self._pipeline.row = None

    # Batches on their way

    async def _store_filling(self) -> None:
        """Send the filled chunks on their way. Those of a body that has yet to be verified go one
        after the other: staging marks all that lies behind a batch's beginning.
        """
        if self._check.pending:
            await self._pipeline.settle()
        elif self._ends_at is None:
            await self._pipeline.room()
        await self._look_at_content(ends=False)
        if self.upload is None:
            await self._be_born()
        batch = Batch(tuple(self._filling), self._staged_bytes)
        if batch.chunks or (batch.staged_bytes and not self._check.pending):
            self._filling, self._filling_bytes = [], 0
            if self._check.pending:
                self._staged_bytes += batch.size
            _ = self._pipeline.start(batch, self._commit_of(batch))

    async def _be_born(self) -> None:
        if self._draft is None:
            raise RuntimeError("a session has a draft or an upload")
        self._pipeline.row = await create_upload(
            self._parts.catalog, self._draft, expires_seconds=self._draft.expires_seconds
        )
        self._parts.metrics.uploads_created[self._draft.protocol].inc()

    def _commit_of(self, batch: Batch) -> Commit[None]:
        keep = stage_batch if self._check.pending else commit_batch

        async def commit(chunks: Sequence[CommitChunk]) -> None:
            upload = self._pipeline.upload
            last = upload.offset + batch.acknowledged_bytes == self._ends_at
            offset = await keep(self._parts, upload, replace(batch, last=last), chunks)
            self._pipeline.row = upload.with_batch(
                offset, len(batch.chunks), self._parts.clock.now()
            )
            self._memory.shrink(batch.size)
            if self._acknowledged is not None and offset > upload.offset:
                self._acknowledged(offset)

        return commit

    async def _look_at_content(self, *, ends: bool) -> None:
        """Before the first bytes are stored: are they what was declared?"""
        if self.upload is not None:
            self._pipeline.row = await self._content.look(self.upload, self._filling, ends=ends)
        elif self._draft is not None:
            self._draft = await self._content.look(self._draft, self._filling, ends=ends)

    async def _unstage(self, upload: Upload) -> None:
        """Give up what is staged, and what was hashed of it."""
        if self._hasher_before is not None:
            self._parts.hashes.keep(upload.id, self._hasher_before)
        if self._staged_bytes:
            await unstage_quietly(self._parts, upload)

    def _keep_hasher(self) -> None:
        if self.upload is not None:
            self._parts.hashes.keep(self.upload.id, self._hasher)
