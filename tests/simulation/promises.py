"""What users, operators and the design were promised in a run, and whether it still holds.

- An object that was acknowledged reads back identical; so does what a hold keeps, wherever it is.
- An upload's acknowledged bytes are there: its offset never decreases, and no other writer's bytes
  take their place.
- What was erased never comes back.
- What says that it is stored is (INV-2); what nobody has claimed is not deleted (INV-5); what a
  restore to any moment of the recovery window would want is there (INV-6); references and counts
  are exact, unless a miscount was planted.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from mediastore.chunkstore.keys import chunk_key
from tests.recount_exact import hashes_of
from tests.simulation.picture import Picture, chunk_prefix


@dataclass
class Session:
    """What clients of one upload were told: `acknowledged` are bytes. `until`: it does not expire
    before that moment of the database's clock.
    """

    acknowledged: bytes = b""
    until: datetime | None = None


@dataclass
class Promises:
    """`miscounted`: bytes are promised, rows are not. `window_seconds` are real ones."""

    window_seconds: float
    miscounted: bool = False
    files: dict[UUID, bytes] = field(default_factory=dict)
    known: dict[UUID, bytes] = field(default_factory=dict)
    gone: dict[UUID, bytes] = field(default_factory=dict)
    held: dict[UUID, bytes] = field(default_factory=dict)
    asked: dict[UUID, bytes] = field(default_factory=dict)
    """What somebody has begun to erase: only a hold that was quicker saves it."""
    erased: set[UUID] = field(default_factory=set)
    sessions: dict[UUID, Session] = field(default_factory=dict)
    _moments: deque[tuple[float, dict[UUID, frozenset[str]]]] = field(default_factory=deque)

    def acknowledge(self, id_: UUID, content: bytes, until: datetime) -> None:
        """A client was told that the upload begins with `content`."""
        if id_ in self.known:  # another client's last request was quicker
            assert self.known[id_].startswith(content), "acknowledged bytes are not in the object"
            return
        session = self.sessions.setdefault(id_, Session())
        shorter, longer = sorted((session.acknowledged, content), key=len)
        assert longer.startswith(shorter), "two writers' bytes were acknowledged for one place"
        session.acknowledged, session.until = longer, until

    def made(self, id_: UUID, content: bytes) -> None:
        """A client was told that the upload has become an object; the first one makes a promise."""
        session = self.sessions.pop(id_, Session())
        assert content.startswith(session.acknowledged), "acknowledged bytes are not in the object"
        if id_ not in self.known:
            self.files[id_] = content
        assert self.known.setdefault(id_, content) == content, "two answers of one object"

    def lost(self, id_: UUID, now: datetime) -> None:
        """A client was told that there is no such upload (any more)."""
        session = self.sessions.pop(id_, None)
        if session is not None and session.until is not None and id_ not in self.known:
            assert now >= session.until, f"upload {id_} went before its time"

    def deleted(self, id_: UUID) -> bytes:
        """A client wants it to be deleted: from here on nothing is promised."""
        return self.files.pop(id_)

    def back(self, id_: UUID) -> None:
        """An operator was told that the object is back."""
        if id_ in self.gone:  # else another one was as quick, or it is being erased
            self.files[id_] = self.gone.pop(id_)

    async def check(self, picture: Picture, now: float, put: AbstractSet[str]) -> None:
        """`put` are all keys that were ever in the store."""
        await self._check_bytes(picture)
        await self._check_sessions(picture)
        await self._check_stored(picture)
        await self._check_doomed(picture, put)
        await self._check_window(picture, now)

    async def _check_bytes(self, picture: Picture) -> None:
        for id_, content in self.files.items():
            assert id_ in picture.objects, f"object {id_} has no row"
            read = await picture.object_content(id_, doomed=self.miscounted)
            assert read == content, f"object {id_} does not read back"
        assert self.erased.isdisjoint(picture.objects), "what was erased is back"
        for id_, content in self.held.items():
            read = await picture.object_content(id_, doomed=self.miscounted)
            assert read == content, f"object {id_} was held, and yet it went"

    async def _check_sessions(self, picture: Picture) -> None:
        for id_, session in self.sessions.items():
            upload = picture.uploads.get(id_)
            if upload is None:  # finished, or expired: its client will be told
                continue
            committed = await picture.committed(id_, doomed=self.miscounted)
            assert committed is not None, f"acknowledged bytes of upload {id_} are gone"
            assert committed.startswith(session.acknowledged), f"upload {id_} has other bytes"

    async def _check_stored(self, picture: Picture) -> None:
        for hash_, row in picture.chunks.items():
            if row["stored"] and row["damaged_at"] is None:
                assert await picture.chunk(hash_) is not None, "INV-2: stored, and not there"

    async def _check_doomed(self, picture: Picture, put: AbstractSet[str]) -> None:
        for hash_, rows in picture.doomed.items():
            for row in rows:
                key = chunk_key(hash_, row["generation"])
                if row["attempts"] == 0 and row["claimed_at"] is None and key in put:
                    assert await picture.body(key) is not None, f"INV-5: {key} went unclaimed"

    async def _check_window(self, picture: Picture, now: float) -> None:
        """Every key that an object has led to in the window is still there; what is erased waits
        for no window, unless somebody else had it as well. Where a miscount took the row, some copy
        of the bytes is.
        """
        wanted = {
            id_: frozenset(self._led_to(picture, hashes_of(picture.manifests[each["blob"]])))
            for id_, each in picture.objects.items()
        }
        self._moments.append((now, wanted))
        while self._moments[0][0] <= now - self.window_seconds:
            self._moments.popleft()
        without = self.erased.union(self.asked)
        keys = {
            key
            for _, moment in self._moments
            for id_, keys in moment.items()
            if id_ not in without
            for key in keys
        }
        for key in sorted(keys):
            assert await picture.has(key), f"INV-6: {key} went within the window"

    def _led_to(self, picture: Picture, hashes: Iterable[bytes]) -> Iterator[str]:
        """Keys, or what the keys of all copies begin with."""
        for hash_ in hashes:
            row = picture.chunks.get(hash_)
            if row is not None and row["stored"]:
                yield chunk_key(hash_, row["generation"])
            elif row is None and self.miscounted:
                yield chunk_prefix(hash_)
