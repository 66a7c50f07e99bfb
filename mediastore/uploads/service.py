"""Uploads as the front ends see them: begin, resume, look, drop.

A request that takes an upload over ends the older request's body at once, in this process
(bodies.py) or in another (replicas.py); what decides who may write is the epoch (INV-8).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from aiohttp import StreamReader, web
from uuid_utils.compat import uuid7

from mediastore.catalog.digests import NO_DIGESTS
from mediastore.catalog.dropping import terminate_upload
from mediastore.catalog.idempotency import find_by_idempotency_keys
from mediastore.catalog.objects import Object, get_object
from mediastore.catalog.taking import end_writer
from mediastore.catalog.upload_lengths import declare_length
from mediastore.catalog.uploads import (
    Upload,
    UploadDraft,
    create_upload,
    get_upload,
)
from mediastore.errors import (
    BadDigest,
    Conflict,
    Gone,
    NotFound,
    ShuttingDown,
    UploadTaken,
)
from mediastore.joining_errors import UploadFragmented
from mediastore.policy_errors import TypeMismatch, TypeNotAllowed
from mediastore.uploads.admission import AdmittedDraft
from mediastore.uploads.batch import Batch
from mediastore.uploads.bodies import Bodies, Key
from mediastore.uploads.body import BodyReader
from mediastore.uploads.declared_type import ContentCheck
from mediastore.uploads.ending import store_last_batch
from mediastore.uploads.fragments import too_many
from mediastore.uploads.open_uploads import OpenUploads
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.pipeline import Pipeline
from mediastore.uploads.received import refuse_cut_short
from mediastore.uploads.replicas import Replicas
from mediastore.uploads.session import Session
from mediastore.uploads.standing import Standing

CONTENT_REFUSED = (BadDigest, TypeMismatch, TypeNotAllowed)


class Uploads:
    """The uploads of this process."""

    def __init__(self, parts: UploadParts) -> None:
        self.parts = parts
        self._bodies = Bodies(parts.metrics.uploads_taken_over)
        self.replicas = Replicas(parts.catalog, parts.settings, parts.clock, self._bodies)
        self.open = OpenUploads(parts.catalog, parts.settings, parts.clock)
        self._stopping = False

    async def stop(self, _app: web.Application | None = None) -> None:
        """End every body that is being read; its session commits what it holds."""
        self._stopping = True
        self._bodies.stop()

    async def admit(self, draft: UploadDraft, *, client: str | None) -> AdmittedDraft:
        """Between parsing and creating: the tenant's policy, and the app's word (admission.py).

        Raises TooLarge, TypeNotAllowed, DeniedByApp, HookUnavailable.
        """
        return await self.parts.admission.admit(draft, client=client)

    async def begin(self, draft: AdmittedDraft, *, writes: bool = False) -> Standing:
        """A new upload without a body; one of no bytes is finished at once. `writes`: the client is
        told of it now, and this request goes on to `append`.

        Raises TooManyUploads.
        """
        self.open.admit(draft.tenant)
        upload = await create_upload(
            self.parts.catalog,
            draft,
            expires_seconds=draft.expires_seconds,
            writer=self.replicas.id if writes else None,
        )
        self.parts.metrics.uploads_created[draft.protocol].inc()
        return await self._finished_if_whole(upload)

    async def receive_new(
        self,
        draft: AdmittedDraft,
        stream: StreamReader,
        *,
        ends_with_body: bool,
        body_digests: Mapping[str, bytes] = NO_DIGESTS,
        body_max_bytes: int | None = None,
    ) -> Standing:
        """A new upload with its body. A body that does not come whole leaves nothing behind.

        Raises RequestTimeout, ShuttingDown, ConnectionResetError (the client has gone),
        TooManyUploads, ChecksumMismatch for a body that has not `body_digests`, and what sessions
        raise.
        """
        if not ends_with_body:
            self.open.admit(draft.tenant)
        session = Session(
            self.parts,
            draft,
            await self.parts.admission.policy(draft.tenant),
            keeps_broken=False,
            ends_with_body=ends_with_body,
            body_digests=body_digests,
            body_max_bytes=body_max_bytes,
        )
        return await self._receive((draft.tenant, draft.id), None, session, stream, kept=False)

    async def append(
        self,
        upload: Upload,
        stream: StreamReader,
        *,
        ends_with_body: bool = False,
        body_digests: Mapping[str, bytes] = NO_DIGESTS,
        body_max_bytes: int | None = None,
        acknowledged: Callable[[int], None] | None = None,
    ) -> Standing:
        """The next bytes of an upload that this request has taken.

        With `body_digests` all of it counts or, as after a broken connection, nothing. Raises
        ChecksumMismatch (member `offset`, which has not moved), and UploadFragmented before
        anything is read, if the upload has too many small pieces.
        """
        if too_many(self.parts.settings, size=upload.fragmented_bytes, fragments=upload.fragments):
            upload = await self.parts.rechunker.make_room(upload)
        session = Session(
            self.parts,
            upload,
            await self.parts.admission.policy(upload.tenant),
            keeps_broken=True,
            ends_with_body=ends_with_body,
            body_digests=body_digests,
            body_max_bytes=body_max_bytes,
            acknowledged=acknowledged,
        )
        key = (upload.tenant, upload.id)
        return await self._receive(key, upload.epoch, session, stream, kept=True)

    @contextmanager
    def reading(self, tenant: str, body: BodyReader) -> Iterator[None]:
        """While inside, a stop of the process ends this body, which is no one upload's that others
        know of. Raises ShuttingDown.
        """
        if self._stopping:
            raise ShuttingDown
        with self._bodies.reading((tenant, uuid7()), None, body):
            yield

    async def declare_length(self, upload: Upload, length: int) -> Upload:
        """Give an upload that this request has taken its length. Raises BadLength, UploadTaken."""
        return await declare_length(self.parts.catalog, upload, length)

    async def concatenate(
        self, said: UploadDraft, part_ids: Sequence[UUID], header: str, *, client: str | None
    ) -> tuple[UUID, Standing]:
        """A final upload of these parts, and where it stands; given again, the list is the same
        final, and the app is not asked again. Raises BadConcatenation, PartTaken, TooLarge,
        TooManyUploads, and what `admit` and `take` raise.
        """
        joiner, standing = self.parts.joiner, None
        final = await joiner.made_before(said.tenant, part_ids)
        if final is None:
            draft = await self.admit(said, client=client)
            self.open.admit(draft.tenant)
            final, standing = await joiner.create(draft, part_ids, header)
        return final, standing or await self.take(said.tenant, final)

    async def take(
        self,
        tenant: str,
        id_: UUID,
        *,
        expected_offset: int | None = None,
        writes: bool = False,
    ) -> Standing:
        """Become the only writer of an upload, or learn what has become of it. `writes`: this
        request goes on to `append`.

        Without an expected offset, an older request first stores what it holds, if that takes no
        longer than `uploads.hand_over_wait_seconds`: its client is asking where to resume, and a
        connection that broke silently is the usual reason.

        A whole upload is finished on the way, a finishing one waited for (a while); one whose
        pieces are being put together here is not taken. Raises NotFound, Gone (finished and deleted
        since), OffsetMismatch, which takes nothing, UploadFragmented.
        """
        if not await self.parts.rechunker.idle(id_):
            standing = await self.peek(tenant, id_)
            if expected_offset is not None and standing.upload is not None:
                raise UploadFragmented(offset=standing.offset)
            return standing
        if expected_offset is None:
            older = self._bodies.end_of_upload((tenant, id_))
            if older is not None:
                await self.replicas.wait(older.settled)
        taken = await self.replicas.take(tenant, id_, expected_offset, writes=writes)
        # None of one that has all its bytes and expired meanwhile: that is finished all the same.
        upload = (
            await get_upload(self.parts.catalog, tenant, id_) if taken is None else taken.upload
        )
        if upload is None:
            return Standing(None, await self._object(tenant, id_))
        if taken is None and upload.state == "open":
            # An older request has saved it since, and holds its epoch: it has yet to be taken.
            return await self.take(tenant, id_, expected_offset=expected_offset, writes=writes)
        if upload.state == "finishing":
            made = await self.parts.finisher.resume(id_)
            if made is None and (found := await get_object(self.parts.catalog, tenant, id_)):
                made = found
            return Standing(upload, made)
        if taken is not None:
            self._bodies.end_of_epoch(taken.previous_epoch)
        if upload.concat == "final":
            return await self.parts.joiner.join(tenant, id_) or Standing(upload, None)
        return await self._finished_if_whole(upload)

    async def peek(self, tenant: str, id_: UUID) -> Standing:
        """Where an upload stands, without taking it. Raises NotFound, Gone."""
        upload = await get_upload(self.parts.catalog, tenant, id_)
        if upload is None:
            return Standing(None, await self._object(tenant, id_))
        return Standing(upload, None)

    async def terminate(self, tenant: str, id_: UUID) -> None:
        """Drop an upload. Raises NotFound; Conflict when it has become an object: delete that
        instead.
        """
        self._bodies.end_of_upload((tenant, id_))
        await end_writer(self.parts.catalog, tenant, id_, replica=self.replicas.id)
        dropped_bytes = await terminate_upload(self.parts.catalog, tenant, id_, told=True)
        if dropped_bytes is not None:
            self.parts.hashes.forget(id_)
            self.parts.metrics.uploads_terminated.inc()
            self.parts.metrics.terminated_bytes.inc(dropped_bytes)
            return
        await self._object(tenant, id_)
        raise Conflict("this upload is finished; delete its object instead")

    async def repeated(self, tenant: str, idempotency_key: str | None) -> Object | None:
        """The object that an earlier request with this Idempotency-Key has made."""
        if idempotency_key is None:
            return None
        found = await find_by_idempotency_keys(self.parts.catalog, tenant, [idempotency_key])
        return found.get(idempotency_key)

    async def _finished_if_whole(self, upload: Upload) -> Standing:
        if not upload.whole or upload.concat == "partial":
            return Standing(upload, None)
        hasher = self.parts.hashes.take(upload)
        check = ContentCheck(self.parts, await self.parts.admission.policy(upload.tenant))
        try:
            await check.look(upload, (), ends=True)
            pipeline = Pipeline(self.parts, upload, start=upload.offset)
            made = await store_last_batch(self.parts, pipeline, Batch(()), hasher)
        except CONTENT_REFUSED:
            await self.parts.drop(upload)
            raise
        return Standing(upload, made)

    async def _object(self, tenant: str, id_: UUID) -> Object:
        found = await get_object(self.parts.catalog, tenant, id_)
        if found is None:
            raise NotFound
        if found.deleted_at is not None:
            raise Gone
        return found

    async def _receive(
        self, key: Key, epoch: int | None, session: Session, stream: StreamReader, *, kept: bool
    ) -> Standing:
        if self._stopping:
            raise ShuttingDown
        settings = self.parts.settings
        body = BodyReader(stream, self.parts.clock, settings.http, settings.uploads)
        with self._bodies.reading(key, epoch, body):
            try:
                received = await session.receive(body)
            except NotFound:  # its row was there: a newer request has finished or dropped it
                raise UploadTaken from None
            except CONTENT_REFUSED:
                if session.upload is not None:
                    await self.parts.drop_quietly(session.upload)
                raise
        part = received.upload
        if part is not None and part.concat == "partial" and part.whole:
            await self.parts.joiner.part_came(part)
        refuse_cut_short(received, kept=kept)
        return Standing(received.upload, received.object)
