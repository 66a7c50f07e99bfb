"""After a burst, memory goes back to the system, small buffers in between or not."""

import platform
import subprocess
import sys

import pytest

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
