"""Gives free memory back to the system after bursts.

glibc keeps freed chunk-sized buffers in its heap, where they make the next upload cheap and the
process as large as its largest burst ever. Telling it to map such buffers one by one would return
them at once and costs twice the CPU of cutting an upload (measured: new pages for each buffer). So
they stay while they are used, and a few times a second, after much has passed through, what is free
is given back. Source: mallopt(3), malloc_trim(3).
"""

import asyncio
import ctypes
import sys
from typing import Any

from mediastore.clock import Clock
from mediastore.memory import MemoryBudget

TRIM_EVERY_SECONDS = 0.25
TRIM_AFTER_BYTES = 32 * 1024 * 1024
ARENAS_MAX = 2  # of threads that hash and cut; each arena keeps free memory of its own
_M_ARENA_MAX = -8


def bound_arenas() -> bool:
    """To be called once, before there are threads. False where the C library is not glibc."""
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(_M_ARENA_MAX, ARENAS_MAX))


def give_back() -> bool:
    """Give free memory back; takes milliseconds, and leaves the GIL to others meanwhile."""
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


async def give_back_after_bursts(memory: MemoryBudget, clock: Clock) -> None:
    """For ever: give memory back when bodies and chunks of some size have passed through."""
    if _glibc() is None:
        return
    seen_bytes = 0
    while True:
        await clock.sleep(TRIM_EVERY_SECONDS)
        if memory.taken_bytes - seen_bytes >= TRIM_AFTER_BYTES:
            seen_bytes = memory.taken_bytes
            await asyncio.to_thread(give_back)


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
