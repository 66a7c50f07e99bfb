"""A chunk in the hands of readers: in the cache's memory, in the budget's, or in a spool file."""

import asyncio
from collections.abc import Callable

from mediastore.delivery.spool import SpoolFile
from mediastore.memory import Reservation


class HeldChunk:
    """A verified chunk that one or more readers hold; each calls `release` once."""

    __slots__ = (
        "_file",
        "_on_release",
        "_reservation",
        "data",
        "hash",
        "keeper",
        "readers",
        "size",
        "spooling",
    )

    def __init__(
        self,
        on_release: "Callable[[HeldChunk], None]",
        hash_: bytes,
        data: bytes,
        reservation: Reservation | None,
    ) -> None:
        self._on_release = on_release
        self._reservation = reservation
        self._file: SpoolFile | None = None
        self.hash = hash_
        self.size = len(data)
        self.data: bytes | None = data
        self.readers = 1
        self.spooling = False
        self.keeper: asyncio.Task[None] | None = None

    @property
    def cached(self) -> bytes | None:
        """The bytes, when they are the cache's own: they may be sent as they lie there."""
        return self.data if self._reservation is None else None

    async def read(self, start: int, end: int) -> bytes:
        """A copy of the bytes `start` to `end`, from memory or from the spool. Raises OSError."""
        if self.data is not None:
            return self.data[start:end]
        if self._file is None:
            raise RuntimeError("a held chunk is in memory or in a file")
        return await self._file.read(start, end)

    def release(self) -> None:
        """This reader is done."""
        if self.readers <= 0:
            raise RuntimeError("a chunk was released more often than it was taken")
        self.readers -= 1
        self._on_release(self)

    def give_back(self) -> None:
        """The chunk's memory is not held here any more."""
        self.data = None
        if self._reservation is not None:
            self._reservation.close()

    def move_to(self, file: SpoolFile) -> None:
        self._file = file
        self.give_back()

    def close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
