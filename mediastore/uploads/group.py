"""A group: small bodies of one request, whole in memory, begun and finished together.

One by one each of them would be two transactions and one PUT, waited for in turn; a group is two
transactions for all, and its PUTs run beside each other (INV-1, INV-2, INV-11: in the same order as
any batch). What a group cannot do for all of its bodies it does for each by itself, so that one bad
body fails alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from mediastore.catalog.bodies import Body, begin_bodies, finish_bodies
from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import (
    CommitChunk,
    IntentChunk,
    Upload,
    UploadDraft,
    intend,
    new_epoch,
)
from mediastore.catalog.whole_body import begun_upload
from mediastore.chunkstore.keys import new_generation
from mediastore.content.hashing import BlobHasher
from mediastore.errors import BadDigest, Conflict, MediastoreError
from mediastore.uploads.batch import Batch
from mediastore.uploads.cutting import NamedChunk
from mediastore.uploads.ending import store_whole_body
from mediastore.uploads.parts import UploadParts

PUTS_AT_ONCE_MAX = 16  # small ones: most of a PUT's time is the way to the store
EMPTY_BLOB = BlobHasher().digest()


@dataclass(frozen=True, slots=True)
class WholeBody:
    """A body whole in memory, its content one chunk; None: it has no bytes. `hasher` has gone over
    it.
    """

    draft: UploadDraft
    chunk: NamedChunk | None
    hasher: BlobHasher

    @property
    def blob(self) -> bytes:
        return EMPTY_BLOB if self.chunk is None else self.chunk.hash

    @property
    def size(self) -> int:
        return 0 if self.chunk is None else len(self.chunk.data)

    @property
    def has_declared_hash(self) -> bool:
        return self.draft.declared_hash in (None, self.blob)

    @property
    def batch(self) -> Batch:
        return Batch(() if self.chunk is None else (self.chunk,))


Made = Object | MediastoreError


async def store_group(parts: UploadParts, group: Sequence[WholeBody]) -> list[Made]:
    """What became of each body: its object, or why there is none."""
    made: dict[UUID, Made] = {
        body.draft.id: BadDigest() for body in group if not body.has_declared_hash
    }
    # Digests that have to be computed and kept are the ordinary way's business.
    await _store_alone(parts, [b for b in _rest(group, made) if b.draft.declared_digests], made)
    good = _rest(group, made)
    if len(good) == 1:
        await _store_alone(parts, good, made)
    elif good:
        try:
            await _store_together(parts, good, made)
        except Conflict:  # one body's fault: its key is in use, its chunk changes all the time
            await _store_alone(parts, _rest(good, made), made)
        except MediastoreError as error:
            made |= {body.draft.id: error for body in _rest(good, made)}
    return [made[body.draft.id] for body in group]


def _rest(group: Sequence[WholeBody], made: dict[UUID, Made]) -> list[WholeBody]:
    return [body for body in group if body.draft.id not in made]


async def _store_alone(
    parts: UploadParts, group: Sequence[WholeBody], made: dict[UUID, Made]
) -> None:
    for body in group:
        try:
            made[body.draft.id] = await store_whole_body(parts, body.draft, body.batch, body.hasher)
        except MediastoreError as error:
            made[body.draft.id] = error


async def _store_together(
    parts: UploadParts, group: Sequence[WholeBody], made: dict[UUID, Made]
) -> None:
    """All of them, as far as it goes: what is in `made` is finished whatever is raised then."""
    upload = _upload_of(parts, group)
    await parts.trust.look_at(*(body.blob for body in group))
    begun = await begin_bodies(
        parts.catalog,
        upload,
        _bodies(group),
        [new_generation() for _ in group],
        expires_seconds=upload.expires_seconds,
    )
    for linked in begun.linked.values():
        parts.metrics.dedup_blob_hits.inc()
        parts.metrics.dedup_blob_bytes.inc(linked.size)
    _finished(parts, begun.linked, made)
    if rest := _rest(group, made):
        parts.metrics.uploads_created[upload.protocol].inc(len(rest))
        _finished(parts, await _put_and_finish(parts, upload, rest, begun.chunks), made)


def _finished(parts: UploadParts, objects: dict[UUID, Object], made: dict[UUID, Made]) -> None:
    for id_, done in objects.items():
        parts.metrics.acknowledged_bytes.inc(done.size)
        made[id_] = parts.finished(done)


async def _put_and_finish(
    parts: UploadParts, upload: Upload, rest: Sequence[WholeBody], begun: list[IntentChunk]
) -> dict[UUID, Object]:
    chunks = tuple(body.chunk for body in rest if body.chunk is not None)
    batch = Batch(chunks, puts_at_once_max=PUTS_AT_ONCE_MAX)

    async def intent() -> list[IntentChunk]:
        return await intend(
            parts.catalog, upload, batch.rows(), expires_seconds=upload.expires_seconds
        )

    async def finish(chunks: Sequence[CommitChunk]) -> dict[UUID, Object]:
        return await finish_bodies(
            parts.catalog, upload, _bodies(rest), chunks, parts.settings.chunking
        )

    try:
        return await parts.batches.put_and_commit(batch, begun, intent, finish)
    except BaseException:
        await parts.drop_quietly(upload)
        raise


def _bodies(group: Sequence[WholeBody]) -> list[Body]:
    return [Body(body.draft, body.blob, body.size) for body in group]


def _upload_of(parts: UploadParts, group: Sequence[WholeBody]) -> Upload:
    """The row that `begin_bodies` writes for what it cannot link. No client ever sees it."""
    of_one, size = group[0].draft, sum(body.size for body in group)
    draft = UploadDraft(
        uuid7(),
        of_one.tenant,
        owner="",
        name="",
        content_type="multipart/form-data",
        metadata={},
        protocol=of_one.protocol,
        length=size,
        expires_seconds=of_one.expires_seconds,
    )
    return begun_upload(draft, epoch=new_epoch(), size=size, now=parts.clock.now())
