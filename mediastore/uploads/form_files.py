"""The files of one form, each an object of its own: received in order, what became of each kept.

A file that is small and whole in memory waits for others (form_small.py); a larger one goes through
a session as any body does. Keeps the memory budget: what waits is stored at once when others need
the room, and a file that is held in part goes on as a session, which can let go of it.

What was whole when the request broke off is stored and stays.
"""

from collections.abc import Sequence

from mediastore.catalog.uploads import UploadDraft
from mediastore.errors import (
    BadRequest,
    IdempotencyKeyInUse,
    MediastoreError,
    RequestTimeout,
    ShuttingDown,
    UploadFinishing,
)
from mediastore.memory import Reservation
from mediastore.uploads.body import BodyEnd
from mediastore.uploads.form_fields import FormFields
from mediastore.uploads.form_parts import FormPart, FormReader
from mediastore.uploads.form_small import FileOutcome, SmallFiles, ends_the_form
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.session import SHED_MIN_BYTES, Session


class FormFiles:
    """Receives one form. Used once."""

    def __init__(
        self,
        parts: UploadParts,
        tenant: str,
        fields: FormFields,
        form: FormReader,
        *,
        client: str | None,
        idempotency_key: str | None,
    ) -> None:
        """`client`: the address that sends it."""
        self.outcomes: list[FileOutcome] = []
        self._parts = parts
        self._tenant = tenant
        self._client = client
        self._fields = fields
        self._form = form
        self._key = idempotency_key
        self._memory = Reservation(parts.memory, parts.settings.memory.wait_max_seconds, body=True)
        self._small = SmallFiles(parts, tenant, client, self._memory)

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
            if self._small.failure is not None:
                raise self._small.failure
            self._fields.check_used()
        finally:
            await self._small.abandon()
            self._memory.close()

    async def _receive_parts(self) -> None:
        while self._small.failure is None and (part := await self._next_part()) is not None:
            if part.filename is None:
                await self._fields.read(part)
            else:
                await self._receive_file(part, part.filename)

    async def _next_part(self) -> FormPart | None:
        if self._memory.starved:
            await self._let_go()
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
                await self._small.find_made_before([outcome])
            if ends_the_form(error):
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
            draft = self._draft(outcome, part, sum(map(len, pieces)) if whole else None)
        except BadRequest:
            self._memory.shrink(sum(map(len, pieces)))
            raise
        if whole:
            await self._small.add(outcome, draft, b"".join(pieces))
            self._form.body.forgive()
        else:
            await self._receive_large(outcome, draft, pieces, part)

    def _draft(self, outcome: FileOutcome, part: FormPart, size: int | None) -> UploadDraft:
        if self._key is not None:
            # No client can send a key that has a control character: it is no other request's.
            outcome.idempotency_key = f"{self._key}\x1f{len(self.outcomes)}"
        says = self._fields.describe(part)
        return says.draft(
            self._tenant, "form", length=size, idempotency_key=outcome.idempotency_key
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
        while size <= small_max_bytes:
            if self._memory.starved:  # somebody asked, by an empty piece, or could not ask
                await self._let_go()
                if size >= SHED_MIN_BYTES:
                    break
            piece = await self._read(part)
            if piece is None:
                break
            if not piece:
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
        await self._small.begin_storing()  # nothing waits in memory for a body that may be long
        try:
            session = await self._session(outcome, draft)
        except MediastoreError:
            self._memory.shrink(sum(map(len, pieces)))
            raise
        part.forgive()
        if session is None:
            self._memory.shrink(sum(map(len, pieces)))
            await part.skip()
            return
        session.adopt(pieces, self._memory)
        received = await session.receive(part)
        if received.end is not BodyEnd.WHOLE:
            self.outcomes.pop()  # what has not come whole is not kept
        elif received.object is None:
            raise UploadFinishing(id=str(draft.id))
        else:
            outcome.object = received.object

    async def _session(self, outcome: FileOutcome, draft: UploadDraft) -> Session | None:
        """None: an earlier request has made the object."""
        await self._small.find_made_before([outcome])
        if outcome.object is not None:
            return None
        admission = self._parts.admission
        return Session(
            self._parts,
            await admission.admit(draft, client=self._client),
            await admission.policy(self._tenant),
            keeps_broken=False,
            ends_with_body=True,
        )

    async def _let_go(self) -> None:
        """Store every file that waits, so that its memory comes free."""
        await self._small.store_all()
        self._form.body.forgive()

    def _refuse_cut_short(self) -> None:
        end = self._form.end
        if end is BodyEnd.SLOW:
            raise RequestTimeout("the form came too slowly; the files that came whole are kept")
        if end is BodyEnd.STOPPED:
            raise ShuttingDown
        if end not in (None, BodyEnd.WHOLE):
            raise ConnectionResetError("the client has gone")
