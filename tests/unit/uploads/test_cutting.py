"""Chunks are views of what was received while memory is plentiful, and copies while it is not."""

import pytest

from mediastore.memory import MemoryBudget, Reservation
from mediastore.settings import ChunkingSettings
from mediastore.uploads.cutting import Cutter

CHUNKING = ChunkingSettings(size_min_bytes=256, size_average_bytes=1024, size_max_bytes=4096)


@pytest.mark.parametrize(("in_use", "kind"), [(49_999, memoryview), (50_000, bytes)])
async def test_a_chunk_keeps_a_buffer_only_where_there_is_room(in_use: int, kind: type) -> None:
    budget = MemoryBudget(100_000)
    assert budget.try_acquire(in_use)
    cutter = Cutter(CHUNKING, Reservation(budget, 1))
    cutter.feed(bytes(10_000))
    chunks = await cutter.take() + await cutter.flush()
    assert b"".join(chunk.data for chunk in chunks) == bytes(10_000)
    assert {type(chunk.data) for chunk in chunks} == {kind}
