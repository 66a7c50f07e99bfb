"""Memory that chunkers cut from, used again by the next one.

New pages cost more than all the rest of cutting: the system clears each, one fault at a time
(measured: a fifth of the CPU of a 2 MiB upload). So a few buffers stay when their bodies have left,
until the process gives free memory back (allocator.py).
"""

import mmap
from collections import deque
from typing import Final

KEPT_MAX: Final = 4  # some 8 MiB each


class SpareBuffers:
    """Buffers of the process, taken and given by any thread. Their content is not cleared: whoever
    takes one reads only what it has written.
    """

    def __init__(self) -> None:
        self._kept: deque[memoryview] = deque(maxlen=KEPT_MAX)

    @property
    def kept_bytes(self) -> int:
        return sum(map(len, tuple(self._kept)))

    def take(self, size: int) -> memoryview:
        """At least `size` bytes. A page of new ones takes room once it is written."""
        try:
            buffer = self._kept.pop()
        except IndexError:
            buffer = _NONE
        return buffer if len(buffer) >= size else _mapped(size)

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back that nobody reads any more; of too many, the oldest goes."""
        self._kept.append(buffer)

    def clear(self) -> None:
        """Let go of what is kept: it goes back to the system at once."""
        self._kept.clear()


_NONE: Final = memoryview(b"")


def _mapped(size: int) -> memoryview:
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
