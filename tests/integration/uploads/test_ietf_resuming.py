"""IETF draft: connections that break anywhere, and requests that meet (section Concurrency)."""

import asyncio
from random import Random

import asyncpg
import pytest

from mediastore.errors import ChunkStoreUnavailable
from tests.faults import Fault
from tests.ietf_client import Connection, IetfClient
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.ietf import (
    VERSIONS,
    client_of,
    content,
    content_of,
    created,
    received_bytes,
    stored,
)

SMALL_BATCHES = {"batch_max_bytes": 65_536, "interim_interval_seconds": 0}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(4))
async def test_an_upload_that_is_cut_at_random_bytes_arrives_whole(
    start: Starter, version: int | None, seed: int, sql: asyncpg.Connection
) -> None:
    service = await start(uploads=SMALL_BATCHES)
    random = Random(f"{version} {seed}")
    data = content(random.choice([0, 1, 3000, 70_000, 400_000]), seed)
    path = random.choice(["/v1/uploads", "/v1/objects"])
    client = client_of(service, version)
    id_ = await client.upload(data, random, cuts=random.randint(1, 6), path=path)
    assert await stored(service, id_) == data


@pytest.mark.parametrize("version", [3, 6, 8])
@pytest.mark.parametrize("seed", range(4))
async def test_an_upload_goes_on_in_another_process(
    start: Starter, version: int, seed: int
) -> None:
    """Every connection to one of two, at random; the broken ones are still held by the other."""
    first = await start(uploads=SMALL_BATCHES)
    second = await start(first.kept, uploads=SMALL_BATCHES)
    random = Random(f"{version} {seed}")
    data = content(400_000, seed)
    id_ = await client_of(first, version).upload(
        data, random, cuts=8, others=[client_of(second, version)]
    )
    assert await stored(second, id_) == data


async def appending(
    client: IetfClient, url: str, offset: int, data: bytes, *, until_: int
) -> tuple[Connection, int]:
    """An append that has promised all the rest and sent a part of it."""
    connection = await client.connect()
    rest = len(data) - offset
    headers = {**client.headers, **client.append_headers(offset, complete=True)}
    await connection.send("PATCH", url, {**headers, "Content-Length": str(rest)})
    connection.writer.write(data[offset:until_])
    await connection.writer.drain()
    return connection, rest


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_asking_for_the_offset_ends_the_older_append_and_keeps_what_it_has(
    service: Service, method: str
) -> None:
    client, data = client_of(service), content(100_000)
    url = await created(client)
    older, _ = await appending(client, url, 0, data, until_=40_000)
    await until(lambda: received_bytes(service) == 40_000)
    standing = await client.offset(url, method)
    assert standing.offset == 40_000
    ended = await older.receive()
    assert (ended.status, ended.json()["code"]) == (409, "upload_taken")
    assert ended.headers["Upload-Complete"] == "?0"
    final = await client.append(url, 40_000, data[40_000:], complete=True)
    assert await content_of(service, final) == data
    await older.close()


async def test_an_append_at_the_right_offset_ends_the_older_one(service: Service) -> None:
    client, data = client_of(service), content(50_000)
    url = await created(client, data[:10_000])
    older, _ = await appending(client, url, 10_000, data, until_=20_000)
    await until(lambda: received_bytes(service) == 20_000)
    final = await client.append(url, 10_000, data[10_000:], complete=True)
    assert final.status == 201
    assert (await older.receive()).status in (404, 409)  # 404: the upload has become the object
    assert await content_of(service, final) == data
    await older.close()


async def test_cancelling_ends_the_append_that_runs(
    service: Service, sql: asyncpg.Connection
) -> None:
    client, data = client_of(service), content(50_000)
    url = await created(client)
    older, _ = await appending(client, url, 0, data, until_=20_000)
    await until(lambda: received_bytes(service) == 20_000)
    assert (await client.cancel(url)).status == 204
    assert (await older.receive()).status in (404, 409)
    await until(lambda: service.memory.in_use_bytes == 0)
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0
    await older.close()


async def test_every_offset_that_is_told_can_be_used(start: Starter) -> None:
    """Offsets are asked for while an append runs: each one is taken by the next append."""
    service = await start(uploads=SMALL_BATCHES)
    client, data = client_of(service), content(500_000)
    url = await created(client)
    offset, last = 0, -1
    for _ in range(12):
        before = received_bytes(service)
        older, _ = await appending(client, url, offset, data, until_=offset + 30_000)
        await until(lambda: received_bytes(service) > before)  # noqa: B023
        standing = await client.offset(url)
        assert standing.offset > last
        offset = last = standing.offset
        await older.abort()
    final = await client.append(url, offset, data[offset:], complete=True)
    assert final.status == 201
    assert await content_of(service, final) == data


async def test_a_store_that_fails_is_a_5xx_and_the_upload_goes_on(service: Service) -> None:
    client, data = client_of(service), content(30_000)
    url = await created(client, data[:10_000])
    service.store.always("put", Fault(before=ChunkStoreUnavailable()))
    failed = await client.append(url, 10_000, data[10_000:], complete=True)
    assert failed.status == 503
    assert failed.headers["Upload-Complete"] == "?0"
    service.store.heal()
    standing = await client.offset(url)
    assert standing.offset == 10_000
    final = await client.append(url, 10_000, data[10_000:], complete=True)
    assert await content_of(service, final) == data


async def test_an_object_that_is_still_being_made(start: Starter) -> None:
    """A process that has not seen the beginning reads it back; until then nothing is final."""
    first = await start()
    second = await start(first.kept, uploads={"finishing_wait_seconds": 0.01})
    data = content(50_000)
    client = client_of(second)
    url = await created(client_of(first), data)
    reading = Fault(gate=asyncio.Event())
    second.store.always("get", reading)
    for _ in range(2):  # the second time it is a repeated append
        answer = await client.append(url, 50_000, b"", complete=True)
        assert (answer.status, answer.json()["code"]) == (503, "still_finishing")
        assert answer.headers["Upload-Complete"] == "?0"
        assert "Retry-After" in answer.headers
    standing = await client.offset(url)
    assert (standing.offset, standing.headers["Upload-Complete"]) == (50_000, "?0")
    assert reading.gate is not None
    reading.gate.set()
    second.store.heal()
    while (answer := await client.append(url, 50_000, b"", complete=True)).status == 503:
        pass
    assert await content_of(second, answer) == data
