"""IETF draft: content that this service cuts short: it comes too slowly, or the process stops.

The draft has clients resume after a connection that broke, and not after a 4xx.
"""

import asyncio
from collections.abc import Mapping

import asyncpg
import pytest

from tests.ietf_client import Connection, Cut, IetfClient, id_of
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.ietf import (
    client_of,
    content,
    content_of,
    created,
    received_bytes,
    stored,
)

IDLE = {"body_idle_timeout_seconds": 0.2}
DATA = content(50_000)
SENT = 20_000


async def begun(
    client: IetfClient, method: str, path: str, said: Mapping[str, str], rest: int
) -> Connection:
    """A request that has promised `rest` bytes, and gives no more than SENT."""
    connection = await client.connect()
    headers = {**client.headers, **said, "Content-Length": str(rest)}
    await connection.send(method, path, headers, DATA, stop_at=SENT)
    return connection


async def cut(connection: Connection) -> Cut:
    """How the connection ends: without a final response."""
    with pytest.raises(Cut) as broken:
        await connection.receive()
    await connection.close()
    return broken.value


async def gone_on(service: Service, client: IetfClient, url: str) -> None:
    standing = await client.offset(url)
    assert (standing.status, standing.offset) == (204, SENT)
    assert client.wire.says_complete(standing.headers) is False
    final = await client.append(url, SENT, DATA[SENT:], complete=True)
    assert await content_of(service, final) == DATA


@pytest.mark.parametrize("version", [3, 6, 8, None])
async def test_a_slow_append_is_broken_off_and_goes_on(start: Starter, version: int | None) -> None:
    service = await start(http=IDLE)
    client = client_of(service, version)
    url = await created(client)
    said = client.append_headers(0, complete=True)
    await cut(await begun(client, "PATCH", url, said, len(DATA)))
    await gone_on(service, client, url)


async def test_an_append_below_the_least_rate_is_broken_off(start: Starter) -> None:
    service = await start(
        uploads={"body_rate_min_bytes_per_second": 1_000_000, "rate_window_seconds": 0.2}
    )
    client = client_of(service)
    url = await created(client)
    said = client.append_headers(0, complete=True)
    connection = await begun(client, "PATCH", url, said, 10**6)

    async def drip() -> None:
        while True:
            connection.writer.write(b"x")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    await cut(connection)
    dripping.cancel()
    assert (await client.offset(url)).offset >= SENT


@pytest.mark.parametrize("version", [3, 8])
async def test_a_slow_creation_that_was_announced_goes_on(start: Starter, version: int) -> None:
    service = await start(http=IDLE)
    client = client_of(service, version)
    broken = await cut(
        await begun(client, "POST", "/v1/objects", client.wire.flag(True), len(DATA))
    )
    assert broken.location is not None
    await gone_on(service, client, broken.location)
    assert await stored(service, id_of(broken.location)) == DATA


@pytest.mark.parametrize("complete", [True, False])
async def test_who_has_no_url_is_told_to_send_it_again(
    start: Starter, sql: asyncpg.Connection, complete: bool
) -> None:
    service = await start(http=IDLE)
    client = client_of(service, None)
    said = client.wire.flag(complete)
    connection = await begun(client, "POST", "/v1/uploads", said, len(DATA))
    answer = await connection.receive()
    await connection.close()
    assert (answer.status, answer.json()["code"]) == (408, "request_timeout")
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0


async def test_a_process_that_stops_breaks_appends_off(start: Starter) -> None:
    """Another process goes on with what it had received."""
    service = await start()
    other = await start(service.kept)
    client = client_of(service)
    url = await created(client)
    said = client.append_headers(0, complete=True)
    connection = await begun(client, "PATCH", url, said, len(DATA))
    await until(lambda: received_bytes(service) == SENT)
    await service.uploads.stop()
    await cut(connection)
    said = client.append_headers(SENT, complete=True)
    await cut(await begun(client, "PATCH", url, said, len(DATA) - SENT))
    await gone_on(other, client_of(other), url)
