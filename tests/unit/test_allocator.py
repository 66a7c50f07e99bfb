"""After a burst, memory goes back to the system, small buffers in between or not."""

import platform
import subprocess
import sys
from collections.abc import Iterable

import pytest

from mediastore import allocator
from mediastore.clock import SystemClock
from mediastore.memory import MemoryBudget
from mediastore.settings import MIB

BURST = """
from mediastore.allocator import bound_arenas, give_back, resident_bytes

print(bound_arenas())
before = resident_bytes()
del bytearray(6 << 20)[:]  # its end teaches glibc to keep smaller ones in the heap
burst = [(bytearray(5 << 20), bytes(2000)) for _ in range(20)]
kept = [small for _, small in burst]
del burst
give_back()
print(resident_bytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes glibc's allocator alone")
def test_a_burst_of_chunks_leaves_little_behind() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BURST], capture_output=True, text=True, check=True, timeout=60
    )
    taken, left_bytes = done.stdout.split()
    assert taken == "True"
    assert int(left_bytes) < 5 << 20


class Looked(Exception):
    """The end of what a test looks at."""


class Looks(SystemClock):
    """Ends the watch after the last of these: what is resident, and what is in use, each time."""

    def __init__(self, memory: MemoryBudget, looks: Iterable[tuple[int, int]]) -> None:
        self._memory = memory
        self._looks = iter(looks)
        self.resident_bytes = IDLE_BYTES

    async def sleep(self, seconds: float) -> None:
        found = next(self._looks, None)
        if found is None:
            raise Looked
        self.resident_bytes, in_use_bytes = found
        self._memory.release(self._memory.in_use_bytes)
        assert self._memory.try_acquire(in_use_bytes)


IDLE_BYTES, CACHE_BYTES = 80 * MIB, 16 * MIB


async def given_back(monkeypatch: pytest.MonkeyPatch, looks: Iterable[tuple[int, int]]) -> int:
    """How many times memory was given back in these looks."""
    memory = MemoryBudget(64 * MIB)
    clock = Looks(memory, looks)
    done: list[None] = []
    monkeypatch.setattr(allocator, "resident_bytes", lambda: clock.resident_bytes)
    monkeypatch.setattr(allocator, "give_back", lambda: done.append(None))
    monkeypatch.setattr(allocator, "_glibc", lambda: True)
    with pytest.raises(Looked):
        await allocator.give_back_after_bursts(memory, clock, cache_max_bytes=CACHE_BYTES)
    return len(done)


async def test_what_is_accounted_for_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    in_use = 32 * MIB
    full = IDLE_BYTES + CACHE_BYTES + in_use + allocator.UNUSED_MAX_BYTES
    assert await given_back(monkeypatch, [(full, in_use)] * 100) == 0


async def test_while_content_moves_what_it_needs_again_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = IDLE_BYTES + CACHE_BYTES + allocator.UNUSED_MOVING_MAX_BYTES
    assert await given_back(monkeypatch, [(most + 1, 1), (most, 0)] * 50) == 0
    assert await given_back(monkeypatch, [(most + 2, 1)]) == 1


async def test_when_nothing_moves_any_more_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    much = (IDLE_BYTES + CACHE_BYTES + allocator.UNUSED_MAX_BYTES + 1, 0)
    settled = allocator.SETTLED_LOOKS
    assert await given_back(monkeypatch, [much] * (settled - 1)) == 0
    assert await given_back(monkeypatch, [much] * settled) == 1
    little = (much[0] - 1, 0)
    assert await given_back(monkeypatch, [little] * 2 * settled) == 0
