"""Memory that chunkers cut from, used again by the next one.

New pages cost more than all the rest of cutting: the system clears each, one fault at a time
(measured: a fifth of the CPU of a 2 MiB upload). So a few buffers stay when their bodies have left,
until the process gives free memory back (allocator.py).

What is cut is not copied: chunks are views of a buffer, and a socket or a thread may read one for
longer than the request that made it. So nobody says when a buffer is free; it is asked, and the
interpreter knows (it counts the views of each, and refuses to resize what is viewed).
"""

import mmap
from collections import deque
from typing import Final

KEPT_MAX: Final = 6  # some 16 MiB each; of those given back early, still viewed


class SpareBuffers:
    """Buffers of the process, taken and given by any thread. Their content is not cleared: whoever
    takes one reads only what it has written.
    """

    def __init__(self) -> None:
        self._kept: deque[mmap.mmap] = deque(maxlen=KEPT_MAX)

    def take(self, size: int) -> memoryview:
        """At least `size` bytes that nobody else sees. A page of new ones takes room once it is
        written.
        """
        for _ in range(len(self._kept)):
            try:
                kept = self._kept.pop()
            except IndexError:  # another thread was faster
                break
            if is_viewed(kept):
                self._kept.appendleft(kept)
            elif len(kept) >= size:
                return memoryview(kept)
        return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back that is written no more. Views of it stay whole: it is taken again
        only when the last is gone. Of too many, the oldest goes.
        """
        if isinstance(buffer.obj, mmap.mmap):
            self._kept.append(buffer.obj)
        buffer.release()

    def clear(self) -> None:
        """Let go of what is kept: it goes back to the system once nobody views it."""
        self._kept.clear()


def is_viewed(buffer: mmap.mmap) -> bool:
    """Is there a view of it? Resizing to the size it has changes nothing, and asks just that."""
    try:
        buffer.resize(len(buffer))
    except BufferError:
        return True
    except SystemError:  # the platform cannot resize; what is viewed was refused before
        return False
    return False
