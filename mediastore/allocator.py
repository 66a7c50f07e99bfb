"""Gives free memory back to the system after bursts.

glibc keeps freed chunk-sized buffers in its heap, where they make the next upload cheap and the
process as large as its largest burst ever. Telling it to map such buffers one by one would return
them at once and costs twice the CPU of cutting an upload (measured: new pages for each buffer). So
they stay while they are used; when the process holds much more than it has use for, what is free is
given back. While content moves, more is let lie: cold reads whose memory was given back ten times a
second, and had anew page by page, took half as much CPU again. Source: mallopt(3), malloc_trim(3),
proc_pid_statm(5).
"""

import asyncio
import ctypes
import resource
import sys
from pathlib import Path
from typing import Any

from mediastore.clock import Clock
from mediastore.memory import MemoryBudget

LOOK_EVERY_SECONDS = 0.1
UNUSED_MAX_BYTES = 8 * 1024 * 1024  # what may lie free in the heap for the next upload
# The same while content moves: a chunk that comes in is there twice for a moment, which no budget
# counts, and needs as much again at once. Measured with two under way: 40 MiB.
UNUSED_MOVING_MAX_BYTES = 48 * 1024 * 1024
SETTLED_LOOKS = 10  # without anything in flight: nothing moves any more
ARENAS_MAX = 1  # each arena keeps free memory of its own, and threads here allocate little
_M_ARENA_MAX = -8


def bound_arenas() -> bool:
    """To be called once, before there are threads. False where the C library is not glibc."""
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(_M_ARENA_MAX, ARENAS_MAX))


def give_back() -> bool:
    """Give free memory back; takes milliseconds, and leaves the GIL to others meanwhile."""
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


async def give_back_after_bursts(
    memory: MemoryBudget, clock: Clock, *, cache_max_bytes: int
) -> None:
    """For ever: give memory back when the process holds more than budget and cache account for.

    To be started while the process is idle.
    """
    if _glibc() is None:
        return
    idle_bytes = resident_bytes()
    settled_looks = 0
    while True:
        await clock.sleep(LOOK_EVERY_SECONDS)
        settled_looks = 0 if memory.in_use_bytes else settled_looks + 1
        unused_bytes = resident_bytes() - idle_bytes - memory.in_use_bytes - cache_max_bytes
        moving = settled_looks < SETTLED_LOOKS
        if unused_bytes > (UNUSED_MOVING_MAX_BYTES if moving else UNUSED_MAX_BYTES):
            memory.spare.clear()
            await asyncio.to_thread(give_back)


def resident_bytes() -> int:
    """Memory that this process has in RAM."""
    statm = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(statm.split()[1]) * resource.getpagesize()


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
