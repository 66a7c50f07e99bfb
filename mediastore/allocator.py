"""Tells glibc's allocator to give large buffers back to the system as soon as they are free.

Left alone it learns from the first chunk-sized buffers to keep all of that size in its heap, and
after a burst the process holds a multiple of the memory budget for good. Small allocations are not
touched. Source: mallopt(3).
"""

import ctypes
import sys

import structlog

log = structlog.get_logger(__name__)

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
LARGE_BYTES = 1024 * 1024
ARENAS_MAX = 2  # of threads that hash and cut; each arena keeps free memory of its own


def give_back_large_buffers() -> bool:
    """To be called once, before the first large buffer. False where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {
        _M_MMAP_THRESHOLD: LARGE_BYTES,
        _M_TRIM_THRESHOLD: LARGE_BYTES,
        _M_ARENA_MAX: ARENAS_MAX,
    }
    answers = [mallopt(name, value) for name, value in settings.items()]
    taken = all(answer == 1 for answer in answers)
    if not taken:
        log.warning("allocator_not_tuned", detail="memory may stay high after bursts")
    return taken
