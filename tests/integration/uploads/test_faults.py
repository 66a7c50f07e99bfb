"""What goes wrong: connections that break, memory that is short, a process that stops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest

from mediastore.uploads.body import BodyEnd
from mediastore.uploads.session import Session
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, offset_of, patch, stored


async def send_part(service: Service, url: str, offset: int, data: bytes, length: int) -> None:
    """A PATCH that promises `length` bytes, sends `data` and breaks the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.client.port)
    head = (
        f"PATCH {url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
        "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n"
        f"Upload-Offset: {offset}\r\nContent-Length: {length}\r\n\r\n"
    )
    writer.write(head.encode() + data)
    await writer.drain()
    await until(lambda: bool(service.uploads._bodies))  # the request has begun
    writer.close()
    await writer.wait_closed()
    del reader


async def settled(service: Service) -> None:
    """Until no body is being read or stored."""
    await until(lambda: not service.uploads._bodies)


@pytest.mark.parametrize("size", [1, 5000, 30_000, 200_000])
async def test_a_broken_connection_keeps_every_byte_that_arrived(
    service: Service, size: int
) -> None:
    data = content(300_000)
    url = await create(service, 300_000)
    await send_part(service, url, 0, data[:size], 300_000)
    await settled(service)
    assert await offset_of(service, url) == size
    assert await patch(service, url, size, data[size:]) == (204, "300000")
    assert await stored(service, url) == data


async def test_a_broken_one_request_upload_leaves_nothing(
    service: Service, sql: asyncpg.Connection
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.client.port)
    writer.write(
        f"POST /v1/objects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
        "Content-Length: 900000\r\n\r\n".encode()
        + content(100_000)
    )
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    await settled(service)
    del reader
    for table in ("objects", "uploads", "upload_chunks"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_a_slow_client_is_cut_and_keeps_its_offset(start: Starter) -> None:
    service = await start(http={"body_idle_timeout_seconds": 0.2})
    url = await create(service, 100_000)

    async def slow() -> AsyncIterator[bytes]:
        yield content(20_000)
        await asyncio.sleep(20)

    answer = await service.client.patch(
        url, data=slow(), headers={**service.tus, **PATCH_TYPE, "Upload-Offset": "0"}
    )
    assert (answer.status, answer.headers["Upload-Offset"]) == (409, "20000")
    assert (await answer.json())["code"] == "body_too_slow"
    assert await offset_of(service, url) == 20_000


async def test_a_body_below_the_minimum_rate_is_cut(start: Starter) -> None:
    service = await start(
        uploads={"body_rate_min_bytes_per_second": 1_000_000, "rate_window_seconds": 0.2}
    )
    url = await create(service, 100_000)

    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 10
            await asyncio.sleep(0.02)

    answer = await service.client.patch(
        url, data=dripping(), headers={**service.tus, **PATCH_TYPE, "Upload-Offset": "0"}
    )
    assert answer.status == 409
    assert int(answer.headers["Upload-Offset"]) == await offset_of(service, url) > 0


async def test_stopping_commits_what_was_received(service: Service) -> None:
    url = await create(service, 100_000)
    sent = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield content(20_000)
        sent.set()
        await asyncio.sleep(20)

    request = asyncio.create_task(
        service.client.patch(
            url, data=slow(), headers={**service.tus, **PATCH_TYPE, "Upload-Offset": "0"}
        )
    )
    await sent.wait()
    await asyncio.sleep(0.1)
    await service.uploads.stop()
    answer = await request
    assert (answer.status, (await answer.json())["code"]) == (503, "shutting_down")
    assert answer.headers["Upload-Offset"] == "20000"
    refused, _ = await patch(service, url, 20_000, b"x")
    assert refused == 503


async def test_waiting_bodies_let_go_when_memory_is_short(start: Starter) -> None:
    """Sleeping uploads hold nearly all memory; they store it, so a new one gets in."""
    service = await start(
        memory={"budget_bytes": 64 * 1024 * 1024, "wait_max_seconds": 10},
        chunking={},
    )
    mib = 1024 * 1024
    urls = [await create(service, 20 * mib) for _ in range(10)]
    blocks = [content(7 * mib, seed) for seed in range(10)]

    async def asleep(url: str, data: bytes) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield data
            await asyncio.sleep(60)

        await service.client.patch(
            url, data=body(), headers={**service.tus, **PATCH_TYPE, "Upload-Offset": "0"}
        )

    sleepers = [asyncio.create_task(asleep(u, d)) for u, d in zip(urls, blocks, strict=True)]
    bodies = service.uploads._bodies
    await until(lambda: sum(body.received_bytes for body in bodies.values()) >= 70 * mib)
    small = await create(service, 3 * mib)
    assert (await patch(service, small, 0, content(3 * mib)))[0] == 204
    assert service.memory.in_use_max_bytes <= 64 * mib
    for body in service.uploads._bodies.values():
        body.interrupt(BodyEnd.STOPPED)
    await asyncio.gather(*sleepers, return_exceptions=True)
    for url, data in zip(urls, blocks, strict=True):
        assert await offset_of(service, url) == len(data)
    assert service.memory.in_use_bytes == 0


async def test_what_was_finishing_is_finished_by_whoever_asks(
    start: Starter, sql: asyncpg.Connection
) -> None:
    """All bytes are committed, then the process dies before the object is made."""
    first = await start()
    data = content(50_000)
    url = await create(first, 50_000)
    await patch(first, url, 0, data[:30_000])
    second = await start(first.kept)
    await sql.execute("UPDATE uploads SET length = 30000")
    assert await offset_of(second, url) == 30_000
    assert await stored(second, url) == data[:30_000]


async def test_a_dead_finishing_job_is_taken_over(start: Starter, sql: asyncpg.Connection) -> None:
    first = await start()
    data = content(50_000)
    url = await create(first, 50_000)
    await patch(first, url, 0, data[:30_000])
    await sql.execute(
        "UPDATE uploads SET length = 30000, state = 'finishing', touched_at = now() - interval '1h'"
    )
    second = await start(first.kept)
    assert await offset_of(second, url) == 30_000
    assert await stored(second, url) == data[:30_000]


async def test_one_upload_does_not_take_all_places_of_the_store(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of very many chunks: only a few of its PUTs are under way at once."""
    running = most = 0
    put = service.kept.put

    async def counted(key: str, body: bytes, *, crc32: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        await put(key, body, crc32=crc32)
        running -= 1

    monkeypatch.setattr(service.kept, "put", counted)
    data = content(500_000)
    url = await create(service, len(data))
    assert (await patch(service, url, 0, data))[0] == 204
    assert most == 8


class SleepingBody:
    """One piece, and then a client that sleeps until `waiting` is over."""

    def __init__(self, piece: bytes, wait: Callable[[], Awaitable[None]]) -> None:
        self.end: BodyEnd | None = None
        self._piece = piece
        self._wait = wait
        self.waiting: asyncio.Task[None] | None = None

    async def read(self) -> bytes | None:
        if self.waiting is None:
            self.waiting = asyncio.ensure_future(self._wait())  # runs while the piece is being cut
            return self._piece
        await asyncio.wait([self.waiting])
        self.end = BodyEnd.BROKEN
        return None

    def wake(self) -> None:
        """Nobody is asked: others began to wait while this session was busy."""

    def forgive(self) -> None:
        """No rate here."""


async def test_a_session_that_goes_to_sleep_lets_go_for_those_who_wait_already(
    service: Service,
) -> None:
    data, memory = content(200_000), service.memory
    url = await create(service, 300_000)
    standing = await service.uploads.take("acme", UUID(url.rpartition("/")[2]))
    assert standing.upload is not None
    policy = await service.uploads.parts.admission.policy("acme")
    session = Session(
        service.uploads.parts, standing.upload, policy, keeps_broken=True, ends_with_body=False
    )

    async def other() -> None:
        await memory.acquire(memory.limit_bytes - 1000, timeout_seconds=5)
        memory.release(memory.limit_bytes - 1000)

    body = SleepingBody(data, other)
    received = await session.receive(body)
    assert body.waiting is not None
    await body.waiting
    assert received.offset == len(data)
    assert memory.in_use_bytes == 0
