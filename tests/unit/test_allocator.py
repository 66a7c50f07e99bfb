"""Large buffers go back to the system when they are freed, small ones around them or not."""

import platform
import subprocess
import sys

import pytest

BURST = """
import os
from mediastore.allocator import give_back_large_buffers

def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

print(give_back_large_buffers())
before = resident_bytes()
for _ in range(3):
    burst = [(bytearray(5 << 20), bytes(2000)) for _ in range(40)]
    kept = [small for _, small in burst]
    del burst
print(resident_bytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes glibc's allocator alone")
def test_a_burst_of_chunks_leaves_nothing_behind() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BURST], capture_output=True, text=True, check=True, timeout=60
    )
    taken, left_bytes = done.stdout.split()
    assert taken == "True"
    assert int(left_bytes) < 5 << 20
