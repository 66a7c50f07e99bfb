"""A request's memory is free when the request is over, not when Python's cycle collector comes by.

A session that is part of a cycle keeps its chunks until then: megabytes of every upload, dozens of
uploads long, and none of it in the memory budget.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from io import BytesIO

import pytest

from mediastore.uploads.cutting import NamedChunk
from mediastore.uploads.session import Session
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, patch

Waiter = Callable[[], Awaitable[None]]
BATCHES = {"batch_max_bytes": 64 * 1024, "batches_at_once_max": 2}


@pytest.fixture
async def service(start: Starter) -> Service:
    return await start(uploads=BATCHES)


@pytest.fixture
def nothing_left() -> Iterator[Waiter]:
    """Python's collector is off; to be called when the request is over."""
    gc.collect()
    gc.disable()
    before = held()  # other tests' last requests, say

    async def wait() -> None:
        async with asyncio.timeout(10):  # an answer is read before its handler has returned
            await until(lambda: held() <= before)

    yield wait
    gc.enable()


def held() -> set[int]:
    return {id(one) for one in gc.get_objects() if isinstance(one, Session | NamedChunk)}


@pytest.mark.parametrize("size", [1_000, 300_000])
async def test_an_upload_in_one_request(service: Service, nothing_left: Waiter, size: int) -> None:
    answer = await service.client.post(
        "/v1/uploads",
        data=BytesIO(content(size)),
        headers={**service.tus, **PATCH_TYPE, "Upload-Length": str(size)},
    )
    assert answer.status == 201
    await nothing_left()


async def test_an_upload_in_parts(service: Service, nothing_left: Waiter) -> None:
    data = content(300_000)
    url = await create(service, len(data))
    for offset in (0, 100_000, 200_000):
        status, _ = await patch(service, url, offset, data[offset : offset + 100_000])
        assert status == 204
    await nothing_left()


async def test_a_body_that_is_refused(service: Service, nothing_left: Waiter) -> None:
    url = await create(service, 1_000)
    status, _ = await patch(service, url, 0, content(300_000))
    assert status == 413
    await nothing_left()
