"""Uploads whose last bytes came to a process that has not seen the first ones: state `finishing`."""

import asyncio
from uuid import UUID

import asyncpg

from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.test_tus import content, create, offset_of, patch, stored


async def half_elsewhere(start: Starter, data: bytes) -> tuple[Service, str]:
    """A replica that is about to get the second half; another one has read the first."""
    first = await start()
    second = await start(first.kept, uploads={"finishing_wait_seconds": 0.01})
    url = await create(first, len(data))
    half = len(data) // 2
    assert await patch(first, url, 0, data[:half]) == (204, str(half))
    return second, url


async def test_an_answer_before_the_hash_is_known_acknowledges_every_byte(start: Starter) -> None:
    data = content(40_000)
    service, url = await half_elsewhere(start, data)
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    assert await patch(service, url, 20_000, data[20_000:]) == (204, "40000")
    assert await offset_of(service, url) == 40_000
    assert reading.gate is not None
    reading.gate.set()
    job = service.uploads.parts.finisher._jobs[UUID(url.rpartition("/")[2])]
    await job
    assert await stored(service, url) == data
