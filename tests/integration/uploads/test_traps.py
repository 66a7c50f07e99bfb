"""What other servers fell into: tails, false completion, a HEAD in the middle of a PATCH."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from mediastore.errors import ChunkStoreUnavailable
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_checksum import checksum, send
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, offset_of, patch, stored
from tests.recount_exact import assert_references_exact


@pytest.mark.parametrize("checked", [False, True])
async def test_no_tail_is_lost_to_what_was_to_replace_it(
    service: Service, sql: asyncpg.Connection, checked: bool
) -> None:
    """Others keep a short tail apart, delete it, and store it with what comes next: a crash between
    the two takes bytes back that were acknowledged. Here every second request fails at its PUT.
    """
    data = content(2500)
    url = await create(service, len(data))
    at = 0
    for number, size in enumerate([1, 1, 1022, 1, 1, 900, 1, 573]):
        part = data[at : at + size]
        says = checksum(part) if checked else {}
        if number % 2:
            service.store.script("put", Fault(before=ChunkStoreUnavailable()))
            assert (await send(service, url, at, part, says))[0] == 503
            kept = await sql.fetchval(
                "SELECT coalesce(sum(u.size), 0) FROM upload_chunks AS u JOIN chunks AS c "
                'ON c.hash = u.hash WHERE c.stored AND u."offset" < $1',
                at,
            )
            assert kept == at
            assert await offset_of(service, url) == at
            await assert_references_exact(sql)
        assert await send(service, url, at, part, says) == (204, None)
        at += size
    assert await stored(service, url) == data


@pytest.mark.parametrize("ending", ["patch", "creation"])
async def test_nothing_is_complete_before_its_last_byte_is_stored(
    service: Service, sql: asyncpg.Connection, ending: str
) -> None:
    """A store that fails, or knows nothing, is never taken for one that has it all."""
    data = content(20_000)
    service.store.always("put", Fault(before=ChunkStoreUnavailable()))
    if ending == "creation":
        headers = {**service.tus, **PATCH_TYPE, "Upload-Length": "20000"}
        answer = await service.client.post("/v1/uploads", data=data, headers=headers)
        assert answer.status == 503
    else:
        url = await create(service, 20_000)
        assert (await patch(service, url, 0, data))[0] == 503
        assert await offset_of(service, url) == 0
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0
    assert await sql.fetchval("SELECT count(*) FROM blobs") == 0


async def test_a_head_while_a_patch_runs_tells_what_is_stored_and_takes_the_upload(
    start: Starter,
) -> None:
    """In the same process and in another one; what a HEAD has told stays true."""
    uploads = {"batch_max_bytes": 64 * 1024, "hand_over_wait_seconds": 10}
    first = await start(uploads=uploads)
    second = await start(first.kept, uploads=uploads)
    await until(lambda: first.uploads.replicas.listening and second.uploads.replicas.listening)
    data = content(300_000)
    url = await create(first, len(data))

    async def half(offset: int) -> AsyncIterator[bytes]:
        yield data[offset : offset + 100_000]
        await asyncio.sleep(60)

    at = 0
    for asked in (first, second):
        running = asyncio.create_task(send(first, url, at, half(at), {}))
        await until(
            lambda: any(b.received_bytes >= 100_000 for b in first.uploads._bodies.values())
        )
        at += 100_000
        assert await offset_of(asked, url) == at
        assert await running == (409, "upload_taken")
    assert await patch(second, url, at, data[at:]) == (204, str(len(data)))
    assert await stored(second, url) == data
