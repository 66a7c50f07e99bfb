"""Verified chunks that are kept for the next reader: bounded in bytes, least recently used go
first.

A chunk that is being sent is pinned: its memory would not come free by forgetting it, so it stays
and stays counted. At most `PINNED_SHARE_MAX` of the limit can be pinned, so slow readers of many
chunks cannot take the cache away from everybody else; beyond that, readers hold chunks under the
memory budget.
"""

from collections import OrderedDict

PINNED_SHARE_MAX = 0.75
# What an entry costs beside its bytes (measured: key, object, two dictionary slots).
ENTRY_OVERHEAD_BYTES = 512


class _Pinned:
    __slots__ = ("data", "readers")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.readers = 1


class ChunkCache:
    """Chunks by hash. Not for threads: the event loop's alone."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pinned_max_bytes = int(limit_bytes * PINNED_SHARE_MAX)
        self._idle: OrderedDict[bytes, bytes] = OrderedDict()
        self._pinned: dict[bytes, _Pinned] = {}
        self.held_bytes = 0
        self.pinned_bytes = 0

    def __contains__(self, hash_: bytes) -> bool:
        return hash_ in self._idle or hash_ in self._pinned

    def peek(self, hash_: bytes) -> bytes | None:
        """The chunk, for a caller that copies what it needs before it awaits anything."""
        data = self._idle.get(hash_)
        if data is not None:
            self._idle.move_to_end(hash_)
            return data
        pinned = self._pinned.get(hash_)
        return None if pinned is None else pinned.data

    def pin(self, hash_: bytes) -> bytes | None:
        """The chunk, kept until `unpin`; None if it is not here or no more may be pinned."""
        pinned = self._pinned.get(hash_)
        if pinned is not None:
            pinned.readers += 1
            return pinned.data
        data = self._idle.get(hash_)
        if data is None or not self._may_pin(len(data)):
            return None
        del self._idle[hash_]
        self._pinned[hash_] = _Pinned(data)
        self.pinned_bytes += len(data)
        return data

    def unpin(self, hash_: bytes) -> None:
        """One reader less. Raises KeyError for a chunk that is not pinned."""
        pinned = self._pinned[hash_]
        pinned.readers -= 1
        if pinned.readers == 0:
            del self._pinned[hash_]
            self._idle[hash_] = pinned.data
            self.pinned_bytes -= len(pinned.data)

    def take_out(self, hash_: bytes) -> bytes | None:
        """Remove a chunk that is not pinned and return it: somebody else answers for its memory."""
        data = self._idle.pop(hash_, None)
        if data is not None:
            self.held_bytes -= _cost(data)
        return data

    def admit(self, hash_: bytes, data: bytes, *, readers: int) -> bool:
        """Keep a verified chunk, pinned by `readers`; False if there is no room for it."""
        if hash_ in self:
            raise ValueError("this chunk is in the cache already")
        if (readers and not self._may_pin(len(data))) or not self._make_room(_cost(data)):
            return False
        self.held_bytes += _cost(data)
        if readers:
            pinned = self._pinned[hash_] = _Pinned(data)
            pinned.readers = readers
            self.pinned_bytes += len(data)
        else:
            self._idle[hash_] = data
        return True

    def _may_pin(self, size: int) -> bool:
        return self.pinned_bytes + size <= self._pinned_max_bytes

    def _make_room(self, cost: int) -> bool:
        pinned_cost = self.pinned_bytes + ENTRY_OVERHEAD_BYTES * len(self._pinned)
        if pinned_cost + cost > self._limit_bytes:
            return False
        while self.held_bytes + cost > self._limit_bytes:
            _, evicted = self._idle.popitem(last=False)
            self.held_bytes -= _cost(evicted)
        return True


def _cost(data: bytes) -> int:
    return len(data) + ENTRY_OVERHEAD_BYTES
