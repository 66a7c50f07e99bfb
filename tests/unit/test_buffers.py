"""Buffers that are used again: large enough, few, and never two holders of one."""

from random import Random

import pytest

from mediastore.buffers import KEPT_MAX, SpareBuffers
from mediastore.content.chunker import Chunker

SIZES = (256, 1024, 4096)


def test_a_buffer_is_used_again() -> None:
    spare = SpareBuffers()
    buffer = spare.take(5000)
    spare.give(buffer)
    assert spare.take(4000) is buffer
    assert spare.take(4000) is not buffer


def test_one_that_is_too_small_is_not() -> None:
    spare = SpareBuffers()
    spare.give(spare.take(5000))
    assert len(spare.take(9000)) >= 9000


def test_few_are_kept_and_none_after_a_clear() -> None:
    spare = SpareBuffers()
    for buffer in [spare.take(8192) for _ in range(3 * KEPT_MAX)]:
        spare.give(buffer)
    assert spare.kept_bytes == KEPT_MAX * 8192
    spare.clear()
    assert spare.kept_bytes == 0


@pytest.mark.parametrize("seed", range(20))
def test_chunkers_that_share_buffers_cut_as_ones_that_do_not(seed: int) -> None:
    """Chunks outlive their buffer, and nothing of one content gets into another."""
    random, spare = Random(seed), SpareBuffers()
    contents = [random.randbytes(random.randrange(40_000)) for _ in range(6)]
    running = [(Chunker(*SIZES, spare=spare), content) for content in contents]
    cut: list[list[bytes]] = [[] for _ in running]
    places = [0] * len(running)
    while open_ := [n for n, (_, content) in enumerate(running) if places[n] <= len(content)]:
        number = random.choice(open_)
        chunker, content = running[number]
        end = places[number] + random.randrange(1, 6000)
        chunker.feed(content[places[number] : end])
        places[number] = end
        cut[number] += chunker.take() if end <= len(content) else chunker.flush()
    for chunks, content in zip(cut, contents, strict=True):
        alone = Chunker(*SIZES)
        alone.feed(content)
        assert chunks == alone.flush()
        assert b"".join(chunks) == content
