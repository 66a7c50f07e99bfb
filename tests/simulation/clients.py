"""Clients of the service: they upload in every way, break off, come back elsewhere, and delete.

What they are told becomes a promise. An error promises nothing, but for what was told before.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from mediastore.catalog.objects import Object, restore_object, trash_object
from mediastore.catalog.uploads import UploadDraft
from mediastore.errors import (
    ChecksumMismatch,
    Gone,
    IdempotencyKeyInUse,
    MediastoreError,
    NotFound,
)
from mediastore.uploads.service import Uploads
from mediastore.uploads.standing import Standing
from tests.collection_world import TENANT, draft, noise
from tests.simulation.processes import Unreachable
from tests.simulation.simulation import Simulation

# Few blocks, so that files share chunks and the same chunks come back again and again.
BLOCKS = [noise(n, 700) for n in range(3)]
PIECE = 512
TRIES = 12
REFUSED = (MediastoreError, Unreachable, ConnectionResetError)


class Client:
    """Asks any replica, each time another one."""

    def __init__(self, simulation: Simulation) -> None:
        self._in = simulation
        self._stepper = simulation.stepper
        self._choice = simulation.choice

    async def run(self) -> None:
        ways = (self._whole, self._whole, self._resumable, self._joined, self._contested)
        while not self._in.closing:
            try:
                await self._choice.choice(ways)(self._content())
            except REFUSED as error:
                self._in.refused(error)
            await self._delete_some()
            await self._stepper.pauses(0, 12)

    def _content(self) -> bytes:
        """What was there before; or the same blocks again and again, and one that nobody brings
        again after a while.
        """
        before = [id_ for id_, content in self._in.promises.known.items() if content]
        if before and self._choice.random() < 0.3:
            return self._in.promises.known[self._choice.choice(sorted(before)[-4:])]
        rare = noise(("rare", self._stepper.steps // self._in.scene.fresh_steps), 700)
        blocks = BLOCKS[: self._in.scene.blocks]
        return b"".join(self._choice.choices([*blocks, rare], k=self._choice.randint(1, 4)))

    def _draft(self, length: int | None, protocol: str) -> UploadDraft:
        return replace(draft(length), id=self._in.next_id(), protocol=protocol)

    def _draft_of(self, content: bytes) -> UploadDraft:
        """Of a session: tus, which ends with its length, or IETF, which ends when its client says
        so.
        """
        if self._choice.random() < 0.5:
            return self._draft(len(content), "tus")
        return self._draft(None, "ietf")

    # One request

    async def _whole(self, content: bytes) -> None:
        """With an idempotency key: a request whose answer was lost is sent again."""
        key = f"key {self._in.next_id().int}"
        for _ in range(3):
            said = replace(self._draft(len(content), "raw"), idempotency_key=key)
            try:
                made = await self._in.ask(lambda uploads: send_whole(uploads, said, content))  # noqa: B023
            except IdempotencyKeyInUse:
                made = await self._in.ask(lambda uploads: uploads.repeated(TENANT, key))
            except REFUSED as error:
                self._in.refused(error)
                await self._stepper.pauses(0, 5)
                continue
            if made is not None:
                self._in.made(made, content, "whole")
            return

    # Several requests

    async def _resumable(self, content: bytes) -> None:
        """In a few pieces, or in so many that they are put together, at the end or on the way."""
        said = self._draft_of(content)
        _ = await self._in.ask(lambda uploads: begin(uploads, said))
        await self._send(said.id, content, self._choice.choice((1, 2, 3, 5, 20)))

    async def _contested(self, content: bytes) -> None:
        """Another device goes on with other bytes behind what is there, or ends it there."""
        said = self._draft_of(content)
        _ = await self._in.ask(lambda uploads: begin(uploads, said))
        other = asyncio.create_task(self._send_other(said.id, len(content)))
        try:
            await self._send(said.id, content, self._choice.randint(1, 4))
        finally:
            await asyncio.wait([other])
        other.result()

    async def _send_other(self, id_: UUID, length: int) -> None:
        await self._stepper.pauses(0, 25)
        tail = b"".join(self._choice.choices(BLOCKS, k=4))[:length]
        await self._send(id_, tail, self._choice.randint(1, 3))

    async def _send(self, id_: UUID, content: bytes, requests: int) -> None:
        """Ask how far it is, send the next piece, until it is an object."""
        size = -(-len(content) // requests)
        for _ in range(requests + TRIES):
            try:
                standing = await self._in.ask(lambda uploads: uploads.take(TENANT, id_))
                if standing.object is not None:
                    await self._in.made_somehow(standing.object)
                    return
                if standing.upload is None or standing.upload.state == "finishing":
                    await self._stepper.pauses(1, 5)
                    continue
                whole = await self._in.continued(id_, standing.offset, content)
                if whole is not None and standing.length is None and self._choice.random() < 0.1:
                    whole = whole[: standing.offset]
                if whole is not None:
                    await self._send_piece(id_, whole, standing, size)
            except (NotFound, Gone):
                self._in.lost(id_)
                return
            except REFUSED as error:
                self._in.refused(error)
                await self._stepper.pauses(0, 4)

    async def _send_piece(self, id_: UUID, content: bytes, seen: Standing, size: int) -> None:
        offset = seen.offset
        piece = content[offset : offset + size]
        ends = seen.length is None and offset + len(piece) == len(content)
        if piece and self._choice.random() < 0.5:
            ends = False  # by a request without a body
        digests, right = self._digests(piece)
        broken = self._choice.random() < 0.15
        since = self._in.clock.database_now()
        request = asyncio.create_task(
            self._in.ask(
                lambda uploads: patch(uploads, id_, offset, piece, digests, broken, ends=ends)
            )
        )
        if self._choice.random() < 0.1:
            await self._stepper.pauses(0, 6)
            request.cancel()
        await asyncio.wait([request])
        if request.cancelled():
            return
        refused = request.exception()
        if isinstance(refused, ChecksumMismatch):
            assert not right, "a body that is right was refused"
            assert refused.members["offset"] == offset, "a refused body moved the offset"
            return
        standing = request.result()
        if standing is None:
            return
        assert right or standing.object is None, "a body that is wrong was taken"
        if standing.object is not None:
            self._in.made(standing.object, content, "resumable")
        elif standing.upload is not None and right:
            self._in.acknowledged(standing.upload, content, since)

    def _digests(self, piece: bytes) -> tuple[Mapping[str, bytes], bool]:
        """What the body is said to have, now and then; and whether that is right."""
        if self._choice.random() < 0.7:
            return {}, True
        right = self._choice.random() < 0.6
        return {"sha-256": sha256(piece if right else b"another").digest()}, right

    async def _joined(self, content: bytes) -> None:
        """From parts, of which the last one may end before or after the final is made."""
        cut = self._choice.randrange(len(content))
        pieces = [content[:cut], content[cut:]]
        parts = [replace(self._draft(len(piece), "tus"), concat="partial") for piece in pieces]
        ids = [part.id for part in parts]
        final = self._draft(None, "tus")
        for part in parts:
            _ = await self._in.ask(lambda uploads: begin(uploads, part))  # noqa: B023
        await self._send_part(ids[0], pieces[0])
        if self._choice.random() < 0.5:
            await self._in.ask(lambda uploads: concatenate(uploads, final, ids))
        await self._send_part(ids[1], pieces[1])
        if self._choice.random() < 0.2:
            ended = self._choice.choice(ids)
            await self._in.ask(lambda uploads: uploads.terminate(TENANT, ended))
        id_, standing = await self._in.ask(lambda uploads: concatenate(uploads, final, ids))
        for _ in range(TRIES):
            if standing.object is not None:
                self._in.made(standing.object, content, "joined")
                return
            await self._stepper.pauses(1, 5)
            standing = await self._in.ask(lambda uploads: uploads.take(TENANT, id_))

    async def _send_part(self, id_: UUID, piece: bytes) -> None:
        if piece:
            await self._in.ask(lambda uploads: patch(uploads, id_, 0, piece, {}, broken=False))

    # Deleting

    async def _delete_some(self) -> None:
        """Few objects are kept, so that chunks lose their last reference."""
        promises = self._in.promises
        while len(promises.files) > self._choice.randint(0, self._in.scene.kept_max):
            id_ = self._choice.choice(sorted(promises.files))
            content = promises.deleted(id_)
            try:
                await trash_object(self._in.catalog, TENANT, id_)
                if self._choice.random() < 0.1:
                    await self._stepper.pauses(0, 12)
                    if await restore_object(self._in.catalog, TENANT, id_) is not None:
                        promises.files[id_] = content
                        continue
            except REFUSED as error:
                self._in.refused(error)
            promises.gone[id_] = content


async def begin(uploads: Uploads, said: UploadDraft) -> Standing:
    return await uploads.begin(await uploads.admit(said, client=None))


async def send_whole(uploads: Uploads, said: UploadDraft, content: bytes) -> Object | None:
    admitted = await uploads.admit(said, client=None)
    standing = await uploads.receive_new(admitted, body(content), ends_with_body=True)
    return standing.object


async def patch(
    uploads: Uploads,
    id_: UUID,
    offset: int,
    piece: bytes,
    digests: Mapping[str, bytes],
    broken: bool,
    *,
    ends: bool = False,
) -> Standing | None:
    """None: somebody else has ended it, and is at it or through."""
    standing = await uploads.take(TENANT, id_, expected_offset=offset, writes=True)
    if standing.upload is None or standing.upload.state == "finishing":
        return None
    stream = body(piece, broken=broken)
    return await uploads.append(standing.upload, stream, body_digests=digests, ends_with_body=ends)


async def concatenate(
    uploads: Uploads, said: UploadDraft, ids: list[UUID]
) -> tuple[UUID, Standing]:
    return await uploads.concatenate(said, ids, "final;", client=None)


def body(content: bytes, *, broken: bool = False) -> StreamReader:
    """A request's body; a broken one breaks off somewhere in the second half."""
    loop = asyncio.get_running_loop()
    stream = StreamReader(BaseProtocol(loop), 1 << 16, loop=loop)
    if broken:
        content = content[: len(content) * 2 // 3]
    for start in range(0, len(content), PIECE):
        stream.feed_data(content[start : start + PIECE])
    if broken:
        stream.set_exception(ConnectionResetError("the client has gone"))
    else:
        stream.feed_eof()
    return stream
