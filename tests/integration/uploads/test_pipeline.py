"""Batches of one upload that overlap: commits in order, whatever happens to any of them.

Two are under way at once here: `FIRST` is a position in the first batch, `SECOND` one in the
second, whatever the cuts, and `THIRD` one behind both.
"""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from mediastore.content.chunker import Chunker
from mediastore.content.hashing import name_chunk
from mediastore.errors import ChunkStoreUnavailable, UploadTaken
from mediastore.uploads.pipeline import Pipeline
from mediastore.uploads.standing import Standing
from tests.faults import Fault
from tests.integration.uploads.conftest import SMALL_CHUNKS, Service, Starter, until
from tests.integration.uploads.test_tus import content, create, offset_of, patch, stored
from tests.recount_exact import assert_references_exact

BATCH = 64 * 1024
PIECE = 4096  # a batch ends less than a piece and the longest chunk behind BATCH
FIRST, SECOND, THIRD = 0, 90_000, 165_000
DATA = content(300_000)
TWO = {"batch_max_bytes": BATCH, "batches_at_once_max": 2, "hand_over_wait_seconds": 0.01}


@pytest.fixture
async def two(start: Starter) -> Service:
    return await start(uploads=TWO)


def key_at(position: int) -> str:
    """How the key begins of the chunk of DATA that is there."""
    least, average, most = SMALL_CHUNKS.values()
    chunker = Chunker(least, average, most)
    chunker.feed(DATA)
    end = 0
    for chunk in chunker.flush():
        end += len(chunk)
        if position < end:
            return f"chunks/{name_chunk(chunk).hash.hex()}"
    raise ValueError(position)


def has_put(service: Service, position: int) -> bool:
    """Has a PUT of that chunk begun?"""
    return any(key.startswith(key_at(position)) for _, key in service.store.calls)


def shut(service: Service, position: int, failure: Exception | None = None) -> asyncio.Event:
    """Hold the next PUT of that chunk; it fails then, if it is to."""
    gate = asyncio.Event()
    service.store.script_key("put", key_at(position), Fault(before=failure, gate=gate))
    return gate


async def append(service: Service, url: str, offset: int, data: bytes) -> Standing:
    """A PATCH whose pieces are cut into the same batches each time."""
    id_ = UUID(url.rpartition("/")[2])
    standing = await service.uploads.take("acme", id_, expected_offset=offset, writes=True)
    assert standing.upload is not None
    stream = StreamReader(BaseProtocol(asyncio.get_running_loop()), 1 << 30)
    for start in range(0, len(data), PIECE):
        stream.feed_data(data[start : start + PIECE])
    stream.feed_eof()
    return await service.uploads.append(standing.upload, stream)


Appending = asyncio.Task[Standing]


async def both_under_way(service: Service, url: str) -> Appending:
    """An upload whose first batch hangs at a gate, with the second one's PUTs begun."""
    running = asyncio.create_task(append(service, url, 0, DATA))
    await until(lambda: has_put(service, FIRST) and has_put(service, SECOND))
    return running


async def rows_end(sql: asyncpg.Connection) -> int:
    end: int = await sql.fetchval('SELECT coalesce(max("offset" + size), 0) FROM upload_chunks')
    return end


async def committed(sql: asyncpg.Connection) -> int:
    offset: int = await sql.fetchval('SELECT "offset" FROM uploads')
    return offset


async def assert_it_goes_on(service: Service, sql: asyncpg.Connection, url: str) -> None:
    """Nothing is held or referenced that should not be, and the client can resume."""
    assert service.memory.in_use_bytes == 0
    offset = await offset_of(service, url)
    assert await rows_end(sql) == offset
    await assert_references_exact(sql)
    assert await patch(service, url, offset, DATA[offset:]) == (204, str(len(DATA)))
    assert await stored(service, url) == DATA
    await assert_references_exact(sql)


async def test_a_second_batch_is_put_before_the_first_is_stored(
    two: Service, sql: asyncpg.Connection
) -> None:
    """But nothing is acknowledged before it, and no third one begins."""
    url = await create(two, len(DATA))
    gate = shut(two, FIRST)
    running = await both_under_way(two, url)
    end = await rows_end(sql)
    await until(lambda: len(two.kept._held) == two.store.count("put") - 1)
    await asyncio.sleep(0.05)
    assert await rows_end(sql) == end < THIRD
    assert not has_put(two, THIRD)
    assert await committed(sql) == 0
    gate.set()
    standing = await running
    assert standing.object is not None
    assert await stored(two, url) == DATA
    assert two.memory.in_use_bytes == 0
    assert two.store.count("put") == len(two.kept._held), "something was stored twice"
    await assert_references_exact(sql)


async def test_the_last_batch_is_put_beside_the_one_before_it(
    two: Service, sql: asyncpg.Connection
) -> None:
    whole = SECOND + 20_000
    url = await create(two, whole)
    gate = shut(two, FIRST)
    running = asyncio.create_task(append(two, url, 0, DATA[:whole]))
    await until(lambda: has_put(two, FIRST) and has_put(two, SECOND))
    assert await rows_end(sql) == whole
    assert await committed(sql) == 0
    gate.set()
    standing = await running
    assert standing.object is not None
    assert await stored(two, url) == DATA[:whole]
    await assert_references_exact(sql)


async def test_as_many_overlap_as_the_setting_says(start: Starter, sql: asyncpg.Connection) -> None:
    one = await start(uploads={**TWO, "batches_at_once_max": 1})
    url = await create(one, len(DATA))
    gate = shut(one, FIRST)
    running = asyncio.create_task(append(one, url, 0, DATA))
    await until(lambda: has_put(one, FIRST))
    await asyncio.sleep(0.05)
    assert await rows_end(sql) < SECOND
    gate.set()
    assert (await running).object is not None


async def test_when_the_first_fails_nothing_behind_it_counts(
    two: Service, sql: asyncpg.Connection
) -> None:
    url = await create(two, len(DATA))
    gate = shut(two, FIRST, ChunkStoreUnavailable())
    running = await both_under_way(two, url)
    gate.set()
    with pytest.raises(ChunkStoreUnavailable):
        await running
    assert await committed(sql) == 0
    await assert_it_goes_on(two, sql, url)


async def test_when_the_second_fails_the_first_counts(
    two: Service, sql: asyncpg.Connection
) -> None:
    """It fails while the first is under way still, and takes only the rest along."""
    url = await create(two, len(DATA))
    gate, other = shut(two, FIRST), shut(two, SECOND, ChunkStoreUnavailable())
    running = await both_under_way(two, url)
    other.set()
    await asyncio.sleep(0.05)
    gate.set()
    with pytest.raises(ChunkStoreUnavailable):
        await running
    assert BATCH <= await committed(sql) < SECOND
    await assert_it_goes_on(two, sql, url)


@pytest.mark.parametrize("changed", [[FIRST], [SECOND], [FIRST, SECOND]])
async def test_a_chunk_that_changes_sends_its_batch_and_those_behind_it_back(
    two: Service, sql: asyncpg.Connection, changed: list[int]
) -> None:
    """As when it was collected, and brought back by another upload, between intent and commit."""
    url = await create(two, len(DATA))
    gates = [shut(two, FIRST), shut(two, SECOND)]
    running = await both_under_way(two, url)
    for position in changed:
        hash_ = bytes.fromhex(key_at(position).rpartition("/")[2])
        await sql.execute("UPDATE chunks SET generation = generation + 1 WHERE hash = $1", hash_)
    for gate in reversed(gates):
        gate.set()
    standing = await running
    assert standing.object is not None
    assert await stored(two, url) == DATA
    assert two.memory.in_use_bytes == 0
    await assert_references_exact(sql)


async def taken_over(service: Service, url: str, _sql: asyncpg.Connection) -> None:
    assert await offset_of(service, url) == 0


async def terminated(service: Service, url: str, _sql: asyncpg.Connection) -> None:
    assert (await service.client.delete(url, headers=service.tus)).status == 204


async def expired(_service: Service, _url: str, sql: asyncpg.Connection) -> None:
    await sql.execute("UPDATE uploads SET expires_at = catalog_clock()")
    assert await sql.fetchval("SELECT uploads FROM uploads_expire_v2(10)") == 1


@pytest.mark.parametrize("ends", [taken_over, terminated, expired])
async def test_an_upload_that_ends_elsewhere_with_two_under_way(
    two: Service,
    sql: asyncpg.Connection,
    ends: Callable[[Service, str, asyncpg.Connection], Awaitable[None]],
) -> None:
    url = await create(two, len(DATA))
    gate = shut(two, FIRST)
    running = await both_under_way(two, url)
    await ends(two, url, sql)
    assert await rows_end(sql) == 0
    gate.set()
    with pytest.raises(UploadTaken):
        await running
    await assert_references_exact(sql)
    assert two.memory.in_use_bytes == 0
    if ends is taken_over:
        await assert_it_goes_on(two, sql, url)


async def test_a_process_that_dies_with_two_under_way(
    start: Starter, sql: asyncpg.Connection
) -> None:
    """Its rows stay; another process that takes the upload over releases them."""
    first = await start(uploads=TWO)
    second = await start(first.kept, uploads=TWO)
    url = await create(first, len(DATA))
    gate = shut(first, FIRST)
    running = await both_under_way(first, url)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not gate.is_set()
    assert first.memory.in_use_bytes == 0
    assert await rows_end(sql) > SECOND
    await assert_it_goes_on(second, sql, url)


async def test_a_request_that_is_cancelled_twice_gives_its_memory_back(
    two: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time while it ends what is under way."""
    url = await create(two, len(DATA))
    shut(two, FIRST)
    running = await both_under_way(two, url)
    abandon, ending, begun = Pipeline.abandon, asyncio.Event(), 0

    async def slow(pipeline: Pipeline) -> None:
        nonlocal begun
        begun += 1
        await abandon(pipeline)
        if begun > 1:
            ending.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(Pipeline, "abandon", slow)
    running.cancel()
    await ending.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert two.memory.in_use_bytes == 0


async def test_content_that_a_process_has_seen_from_the_start_is_not_read_back(
    two: Service,
) -> None:
    """The running hash stands where the offset stands, over batches and requests."""
    url = await create(two, len(DATA))
    for start, end in [(0, SECOND), (SECOND, THIRD), (THIRD, len(DATA))]:
        assert (await append(two, url, start, DATA[start:end])).offset == end
    assert await stored(two, url) == DATA
    assert two.store.count("get") == 0


async def test_the_hash_of_what_failed_is_given_up(two: Service, sql: asyncpg.Connection) -> None:
    """Cut and hashed, but never acknowledged: other bytes may come in their place."""
    url = await create(two, len(DATA))
    gate = shut(two, FIRST, ChunkStoreUnavailable())
    running = await both_under_way(two, url)
    gate.set()
    with pytest.raises(ChunkStoreUnavailable):
        await running
    other = content(len(DATA), 2)
    assert await patch(two, url, 0, other) == (204, str(len(DATA)))
    assert await stored(two, url) == other
    await assert_references_exact(sql)


async def test_a_body_that_ends_with_its_batches_leaves_no_writer(
    two: Service, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left for another batch: the last one under way says that it was the last."""
    zeros = bytes(2 * BATCH)  # cut at the longest chunk each time
    url = await create(two, len(DATA))
    gate, ended, settle = asyncio.Event(), asyncio.Event(), Pipeline.settle

    async def at_the_end(pipeline: Pipeline) -> None:
        ended.set()
        await settle(pipeline)

    monkeypatch.setattr(Pipeline, "settle", at_the_end)
    two.store.script("put", Fault(gate=gate))
    running = asyncio.create_task(append(two, url, 0, zeros))
    await ended.wait()
    await until(lambda: two.store.count("put") > 0)
    assert await sql.fetchval("SELECT writer FROM uploads") is not None
    gate.set()
    assert (await running).offset == len(zeros)
    assert await sql.fetchval("SELECT writer FROM uploads") is None
