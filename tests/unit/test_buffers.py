"""Buffers that are used again: large enough, few, and never while somebody sees what is in one."""

import mmap
from random import Random

import pytest

from mediastore.buffers import KEPT_MAX, SpareBuffers, is_viewed
from mediastore.content.chunker import Chunk, Chunker

SIZES = (256, 1024, 4096)


def test_a_buffer_is_used_again() -> None:
    spare = SpareBuffers()
    buffer = spare.take(5000)
    memory = buffer.obj
    spare.give(buffer)
    again = spare.take(4000)
    assert again.obj is memory
    assert spare.take(4000).obj is not memory


def test_one_that_is_too_small_is_not() -> None:
    spare = SpareBuffers()
    spare.give(spare.take(5000))
    assert len(spare.take(9000)) >= 9000


def test_one_of_which_there_is_a_view_is_not() -> None:
    spare = SpareBuffers()
    buffer = spare.take(5000)
    memory = buffer.obj
    buffer[:5] = b"bytes"
    view = buffer[:5].toreadonly()
    spare.give(buffer)
    for _ in range(3):
        other = spare.take(5000)
        assert other.obj is not memory
        other[:5] = b"other"
    assert bytes(view) == b"bytes"
    view.release()
    assert spare.take(5000).obj is memory


def test_a_slice_of_a_view_is_a_view() -> None:
    memory = mmap.mmap(-1, 4096)
    whole = memoryview(memory)
    part = whole[10:20].toreadonly()[2:4]
    whole.release()
    assert is_viewed(memory)
    del part
    assert not is_viewed(memory)


def test_few_are_kept_and_none_after_a_clear() -> None:
    spare = SpareBuffers()
    buffers = [spare.take(8192) for _ in range(3 * KEPT_MAX)]
    memories = [buffer.obj for buffer in buffers]
    for buffer in buffers:
        spare.give(buffer)
    again = [spare.take(8192) for _ in range(3 * KEPT_MAX)]
    assert sum(buffer.obj in memories for buffer in again) == KEPT_MAX
    for buffer in again:
        spare.give(buffer)
    spare.clear()
    assert spare.take(8192).obj not in memories


@pytest.mark.parametrize("seed", range(20))
def test_chunkers_that_share_buffers_cut_as_ones_that_do_not(seed: int) -> None:
    """Some chunks are let go before others, and nothing of one content gets into another."""
    random, spare = Random(seed), SpareBuffers()
    contents = [random.randbytes(random.randrange(40_000)) for _ in range(6)]
    running = [(Chunker(*SIZES, spare=spare), content) for content in contents]
    cut: list[list[Chunk]] = [[] for _ in running]
    places = [0] * len(running)
    while open_ := [n for n, (_, content) in enumerate(running) if places[n] <= len(content)]:
        number = random.choice(open_)
        chunker, content = running[number]
        end = places[number] + random.randrange(1, 6000)
        chunker.feed(content[places[number] : end])
        places[number] = end
        cut[number] += chunker.take() if end <= len(content) else chunker.flush()
        stored = random.choice(cut)
        for place in range(random.randrange(len(stored) + 1)):
            stored[place] = bytes(stored[place])
    for chunks, content in zip(cut, contents, strict=True):
        alone = Chunker(*SIZES)
        alone.feed(content)
        assert chunks == alone.flush()
        assert b"".join(chunks) == content
