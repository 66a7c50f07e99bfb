"""The small files of one form: they wait for each other and are stored together (group.py).

At most one group is under way while the next one fills. What waits is held in the form's
reservation, and given back when it is stored.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mediastore.catalog.idempotency import find_by_idempotency_keys
from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import UploadDraft
from mediastore.content.hashing import THREAD_WORTH_BYTES, BlobHasher
from mediastore.errors import IdempotencyKeyInUse, MediastoreError, TooLarge
from mediastore.memory import Reservation
from mediastore.request_errors import BadForm
from mediastore.uploads.cutting import named
from mediastore.uploads.declared_type import ContentCheck
from mediastore.uploads.group import WholeBody, store_group
from mediastore.uploads.parts import UploadParts


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
    outcome: FileOutcome
    body: WholeBody


class SmallFiles:
    """What waits and what is under way. `failure`: why no more of them should be sent."""

    def __init__(
        self, parts: UploadParts, tenant: str, client: str | None, memory: Reservation
    ) -> None:
        self.failure: MediastoreError | None = None
        self._parts = parts
        self._tenant = tenant
        self._client = client
        self._memory = memory
        self._group: list[_Waiting] = []
        self._group_bytes = 0
        self._storing: asyncio.Task[None] | None = None

    async def add(self, outcome: FileOutcome, draft: UploadDraft, data: bytes) -> None:
        """Let a file wait. `data` is held in the form's reservation."""
        hasher = BlobHasher(draft.declared_digests)
        if len(data) < THREAD_WORTH_BYTES:
            chunk = named(data, hasher) if data else None
        else:
            chunk = await asyncio.to_thread(named, data, hasher)
        self._group.append(_Waiting(outcome, WholeBody(draft, chunk, hasher)))
        self._group_bytes += len(data)
        limits = self._parts.settings.uploads
        full = len(self._group) >= limits.group_bodies_max
        if full or self._group_bytes >= limits.batch_max_bytes:
            await self.begin_storing()

    async def begin_storing(self) -> None:
        """Hand what waits to a task of its own; at most one is under way."""
        await self._settle()
        if self._group:
            group, self._group, self._group_bytes = self._group, [], 0
            self._storing = asyncio.create_task(self._store(group))

    async def store_all(self) -> None:
        """Nothing waits and nothing is under way when this is done."""
        await self.begin_storing()
        await self._settle()

    async def abandon(self) -> None:
        """Give up what waits and what is under way."""
        storing, self._storing, self._group = self._storing, None, []
        if storing is not None:
            storing.cancel()
            await asyncio.wait([storing])

    async def find_made_before(self, outcomes: Sequence[FileOutcome]) -> None:
        """Those of which an earlier request with the same key has made the object."""
        keys = [each.idempotency_key for each in outcomes if each.idempotency_key is not None]
        if not keys:
            return
        found = await find_by_idempotency_keys(self._parts.catalog, self._tenant, keys)
        for outcome in outcomes:
            earlier = found.get(outcome.idempotency_key or "")
            if earlier is not None:
                outcome.object, outcome.repeated, outcome.error = earlier, True, None

    async def _settle(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing

    async def _admitted(self, item: _Waiting) -> WholeBody | None:
        """The file as its tenant and the app take it; None: they do not, which is its outcome."""
        admission, body = self._parts.admission, item.body
        try:
            draft: UploadDraft = await admission.admit(body.draft, client=self._client)
            check = ContentCheck(self._parts, await admission.policy(self._tenant))
            draft = await check.look(draft, body.batch.chunks, ends=True)
        except MediastoreError as error:
            item.outcome.error = error
            return None
        return replace(body, draft=draft)

    async def _store(self, group: Sequence[_Waiting]) -> None:
        try:
            await self.find_made_before([item.outcome for item in group])
            fresh = [item for item in group if item.outcome.object is None]
            bodies = await asyncio.gather(*(self._admitted(item) for item in fresh))
            good = [
                (item.outcome, body)
                for item, body in zip(fresh, bodies, strict=True)
                if body is not None
            ]
            made = await store_group(self._parts, [body for _, body in good])
            for (outcome, _), result in zip(good, made, strict=True):
                if isinstance(result, Object):
                    outcome.object = result
                else:
                    outcome.error = result
            outcomes = [item.outcome for item in fresh]
            await self.find_made_before([each for each in outcomes if _key_is_in_use(each)])
        except MediastoreError as error:
            for item in group:
                if item.outcome.object is None and item.outcome.error is None:
                    item.outcome.error = error
        errors = [item.outcome.error for item in group if item.outcome.error is not None]
        self.failure = self.failure or next(filter(ends_the_form, errors), None)
        self._memory.shrink(sum(item.body.size for item in group))


def ends_the_form(error: MediastoreError) -> bool:
    """Is it not one file's fault alone?"""
    return isinstance(error, BadForm | TooLarge) or error.status >= 500


def _key_is_in_use(outcome: FileOutcome) -> bool:
    return isinstance(outcome.error, IdempotencyKeyInUse)
