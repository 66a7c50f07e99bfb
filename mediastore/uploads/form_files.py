"""The files of one form, each an object of its own: received in order, what became of each kept.

A file that is small and whole in memory waits for others and is stored with them (group.py); a
larger one goes through a session as any body does. At most one group is under way while the next
one fills. Keeps the memory budget: what a group holds is stored at once when others need the room,
and a file that is held in part goes on as a session, which can let go of it.

What was whole when the request broke off is stored and stays.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mediastore.catalog.bodies import find_by_idempotency_keys
from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import UploadDraft
from mediastore.content.hashing import THREAD_WORTH_BYTES
from mediastore.errors import (
    BadForm,
    BadRequest,
    IdempotencyKeyInUse,
    MediastoreError,
    RequestTimeout,
    ShuttingDown,
    TooLarge,
    UploadFinishing,
)
from mediastore.memory import Reservation
from mediastore.uploads.body import BodyEnd
from mediastore.uploads.cutting import named
from mediastore.uploads.form_fields import FormFields
from mediastore.uploads.form_parts import FormPart, FormReader
from mediastore.uploads.group import WholeBody, store_group
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.session import SHED_MIN_BYTES, Session


@dataclass(slots=True)
class FileOutcome:
    """What became of a file. `repeated`: an earlier request with its key has made the object."""

    field: str
    filename: str
    object: Object | None = None
    repeated: bool = False
    error: MediastoreError | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A small file that waits to be stored with others."""

    outcome: FileOutcome
    body: WholeBody


class FormFiles:
    """Receives one form. Used once."""

    def __init__(
        self,
        parts: UploadParts,
        tenant: str,
        fields: FormFields,
        form: FormReader,
        *,
        idempotency_key: str | None,
    ) -> None:
        self.outcomes: list[FileOutcome] = []
        self._parts = parts
        self._tenant = tenant
        self._fields = fields
        self._form = form
        self._key = idempotency_key
        self._memory = Reservation(parts.memory, parts.settings.memory.wait_max_seconds)
        self._group: list[_Waiting] = []
        self._group_bytes = 0
        self._storing: asyncio.Task[None] | None = None
        self._failure: MediastoreError | None = None

    async def receive(self) -> None:
        """Read the form to its end. One file's fault is told in its outcome.

        Raises what ends the form early, when `outcomes` has what was whole by then: BadForm,
        TooLarge, RequestTimeout, ShuttingDown, ConnectionResetError (the client has gone), and what
        is not the client's fault.
        """
        try:
            try:
                await self._receive_parts()
            except MediastoreError:
                await self._let_go()
                raise
            await self._let_go()
            self._refuse_cut_short()
            if self._failure is not None:
                raise self._failure
            self._fields.check_used()
        finally:
            await self._abandon_storing()
            self._memory.close()

    async def _receive_parts(self) -> None:
        while self._failure is None and (part := await self._next_part()) is not None:
            if part.filename is None:
                await self._fields.read(part)
            else:
                await self._receive_file(part, part.filename)

    async def _next_part(self) -> FormPart | None:
        with self._memory.sheddable(self._form.body.wake):
            return await self._form.next_part(self._let_go)

    async def _receive_file(self, part: FormPart, filename: str) -> None:
        outcome = FileOutcome(part.field, filename)
        self.outcomes.append(outcome)
        try:
            await self._receive_content(outcome, part)
        except MediastoreError as error:
            outcome.error = error
            if isinstance(error, IdempotencyKeyInUse):
                await self._was_made_before(outcome)
            if _ends_the_form(error):
                raise
            await part.skip()

    async def _receive_content(self, outcome: FileOutcome, part: FormPart) -> None:
        pieces = await self._collect(part)
        whole = part.end is BodyEnd.WHOLE
        if (part.end is not None and not whole) or not (pieces or outcome.filename):
            # Cut off; or what a browser sends for a file that was not chosen.
            self._memory.shrink(sum(map(len, pieces)))
            self._fields.pass_over()
            self.outcomes.pop()
            return
        try:
            draft = self._draft(outcome, part)
        except BadRequest:
            self._memory.shrink(sum(map(len, pieces)))
            raise
        if whole:
            await self._wait_for_others(outcome, draft, b"".join(pieces))
        else:
            await self._receive_large(outcome, draft, pieces, part)

    def _draft(self, outcome: FileOutcome, part: FormPart) -> UploadDraft:
        if self._key is not None:
            # No client can send a key that has a control character: it is no other request's.
            outcome.idempotency_key = f"{self._key}\x1f{len(self.outcomes)}"
        says = self._fields.describe(part)
        return says.draft(
            self._tenant, "form", length=None, idempotency_key=outcome.idempotency_key
        )

    async def _collect(self, part: FormPart) -> list[bytes]:
        """The beginning of a file: all of it if it is small and there is memory for it."""
        settings = self._parts.settings
        # Nothing of this size is ever cut, so it is one chunk.
        small_max_bytes = min(
            settings.uploads.group_body_max_bytes, settings.chunking.size_min_bytes
        )
        pieces: list[bytes] = []
        size = 0
        while size <= small_max_bytes and (piece := await self._read(part)) is not None:
            if not piece:
                await self._let_go()
                if size >= SHED_MIN_BYTES:
                    break
                continue
            if not self._memory.try_grow(len(piece)):
                await self._let_go()
                if size >= SHED_MIN_BYTES:
                    part.unread(piece)
                    break
                await self._memory.grow(len(piece))
                part.forgive()
            self._parts.metrics.bytes_received.inc(len(piece))
            pieces.append(piece)
            size += len(piece)
        return pieces

    async def _read(self, part: FormPart) -> bytes | None:
        with self._memory.sheddable(part.wake):
            return await part.read()

    async def _receive_large(
        self, outcome: FileOutcome, draft: UploadDraft, pieces: Sequence[bytes], part: FormPart
    ) -> None:
        await self._store_group()  # nothing waits in memory for a body that may be long
        if await self._was_made_before(outcome):
            self._memory.shrink(sum(map(len, pieces)))
            await part.skip()
            return
        session = Session(self._parts, draft, keeps_broken=False, ends_with_body=True)
        session.adopt(pieces, self._memory)
        received = await session.receive(part)
        if received.end is not BodyEnd.WHOLE:
            self.outcomes.pop()  # what has not come whole is not kept
        elif received.object is None:
            raise UploadFinishing
        else:
            outcome.object = received.object

    # Small files on their way

    async def _wait_for_others(self, outcome: FileOutcome, draft: UploadDraft, data: bytes) -> None:
        if len(data) < THREAD_WORTH_BYTES:
            chunk = named(data) if data else None
        else:
            chunk = await asyncio.to_thread(named, data)
        self._group.append(_Waiting(outcome, WholeBody(draft, chunk)))
        self._group_bytes += len(data)
        limits = self._parts.settings.uploads
        if (
            len(self._group) >= limits.group_bodies_max
            or self._group_bytes >= limits.batch_max_bytes
        ):
            await self._store_group()

    async def _store_group(self) -> None:
        """Hand the group to a task of its own; at most one is under way."""
        await self._settle()
        if self._group:
            group, self._group, self._group_bytes = self._group, [], 0
            self._storing = asyncio.create_task(self._store(group))

    async def _let_go(self) -> None:
        """Store every file that waits, so that its memory comes free."""
        await self._store_group()
        await self._settle()

    async def _settle(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing
            self._form.body.forgive()

    async def _abandon_storing(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.cancel()
            await asyncio.wait([storing])

    async def _store(self, group: Sequence[_Waiting]) -> None:
        try:
            await self._find_made_before([item.outcome for item in group])
            fresh = [item for item in group if item.outcome.object is None]
            made = await store_group(self._parts, [item.body for item in fresh])
            for item, result in zip(fresh, made, strict=True):
                if isinstance(result, Object):
                    item.outcome.object = result
                else:
                    item.outcome.error = result
            outcomes = [item.outcome for item in fresh]
            in_use = [each for each in outcomes if isinstance(each.error, IdempotencyKeyInUse)]
            if in_use:
                await self._find_made_before(in_use)
        except MediastoreError as error:
            for item in group:
                if item.outcome.object is None and item.outcome.error is None:
                    item.outcome.error = error
        errors = [item.outcome.error for item in group if item.outcome.error is not None]
        self._failure = self._failure or next(filter(_ends_the_form, errors), None)
        self._memory.shrink(sum(item.body.size for item in group))

    async def _was_made_before(self, outcome: FileOutcome) -> bool:
        await self._find_made_before([outcome])
        return outcome.repeated

    async def _find_made_before(self, outcomes: Sequence[FileOutcome]) -> None:
        """The objects that an earlier request with the same key has made."""
        if self._key is None:
            return
        keys = [outcome.idempotency_key or "" for outcome in outcomes]
        found = await find_by_idempotency_keys(self._parts.catalog, self._tenant, keys)
        for outcome, key in zip(outcomes, keys, strict=True):
            if key in found:
                outcome.object, outcome.repeated, outcome.error = found[key], True, None

    def _refuse_cut_short(self) -> None:
        end = self._form.end
        if end is BodyEnd.SLOW:
            raise RequestTimeout("the form came too slowly; the files that came whole are kept")
        if end is BodyEnd.STOPPED:
            raise ShuttingDown
        if end not in (None, BodyEnd.WHOLE):
            raise ConnectionResetError("the client has gone")


def _ends_the_form(error: MediastoreError) -> bool:
    """Is it not this one file's fault?"""
    return isinstance(error, BadForm | TooLarge) or error.status >= 500
