"""Work that lasts: it survives what it does not expect, and ends with its context."""

import asyncio

from structlog.testing import capture_logs

from mediastore.lasting import lasting
from tests.unit.chunkstore.fake_clock import FakeClock


async def test_what_crashes_is_told_and_begins_again() -> None:
    begun = 0
    third = asyncio.Event()

    async def crashing() -> None:
        nonlocal begun
        begun += 1
        if begun == 3:
            third.set()
            await asyncio.Event().wait()
        raise ZeroDivisionError

    clock = FakeClock()
    with capture_logs() as logs:
        async with lasting(clock, crashing):
            await third.wait()
    assert [(log["event"], log["log_level"]) for log in logs] == [
        ("lasting_work_crashed", "error")
    ] * 2
    assert logs[0]["work"].endswith("crashing")
    assert len(clock.slept) == 2, "a crash at once is not a busy loop"


async def test_all_of_it_has_ended_when_its_context_is_left() -> None:
    ended = []

    async def slow_to_end(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    begun = [lambda: slow_to_end("a"), lambda: slow_to_end("b")]
    async with lasting(FakeClock(), *begun):
        await asyncio.sleep(0)
    assert sorted(ended) == ["a", "b"]
