"""Readers that take little or nothing: what they may hold, and for how long."""

import asyncio
import resource
import socket
from pathlib import Path
from random import Random

import pytest

from mediastore.app_keys import MEMORY
from mediastore.delivery.keys import DELIVERY
from mediastore.settings import KIB, MIB
from tests.integration.service import Service, make_tenant, running, settings_on, until, upload

CHUNK = 8 * MIB
LARGE_CHUNKS = {"size_min_bytes": MIB, "size_average_bytes": 4 * MIB, "size_max_bytes": CHUNK}


def get(url: str) -> bytes:
    return f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


async def first_bytes(connection: socket.socket) -> bytes:
    async with asyncio.timeout(60):
        return await asyncio.get_running_loop().sock_recv(connection, 1024)


async def rest(connection: socket.socket) -> bytes:
    received = bytearray()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        while piece := await loop.sock_recv(connection, 1 << 20):
            received += piece
    return bytes(received)


async def test_a_reader_that_takes_nothing_is_cut_off(dsn: str, tmp_path: Path) -> None:
    settings = settings_on(
        dsn,
        tmp_path,
        chunking=LARGE_CHUNKS,
        http={"access_log": False, "send_idle_timeout_seconds": 0.3},
    )
    key = await make_tenant(settings, "public", public=True)
    body = Random(1).randbytes(8 * MIB)
    async with running(settings) as service:
        made = await upload(service, key, body)
        connection = await service.slow_socket(get(made["links"]["media"]))
        await first_bytes(connection)
        await until(lambda: service.sample("requests_in_progress") == 0)
        connection.close()
        held = service.app[DELIVERY].parts.chunks
        assert held._cache.pinned_bytes == 0
        assert service.app[MEMORY].in_use_bytes == 0


async def test_a_slow_reader_gets_every_byte_from_the_spool(dsn: str, tmp_path: Path) -> None:
    """No cache, so its chunks are spooled; a few bytes at a time do not count as nothing."""
    settings = settings_on(
        dsn,
        tmp_path,
        http={"access_log": False, "send_idle_timeout_seconds": 5},
        chunking=LARGE_CHUNKS,
        memory={"chunk_cache_bytes": 0, "spool_after_seconds": 0.05, "spool_directory": tmp_path},
    )
    key = await make_tenant(settings, "public", public=True)
    body = Random(1).randbytes(20 * MIB)
    async with running(settings) as service:
        made = await upload(service, key, body)
        connection = await service.slow_socket(get(made["links"]["media"]))
        begun = await first_bytes(connection)
        spool = service.app[DELIVERY].parts.chunks._spool
        await until(lambda: spool.held_bytes > 0 and service.app[MEMORY].in_use_bytes == 0)
        answer = begun + await rest(connection)
        connection.close()
        assert answer.partition(b"\r\n\r\n")[2] == body
        await until(lambda: spool.held_bytes == 0)


@pytest.mark.full
async def test_200_slow_readers_of_200_chunks_leave_memory_for_quick_ones(
    dsn: str, tmp_path: Path
) -> None:
    readers = 200
    budget, cache = 64 * MIB, 32 * MIB
    settings = settings_on(
        dsn,
        tmp_path,
        chunking=LARGE_CHUNKS,
        memory={"budget_bytes": budget, "chunk_cache_bytes": cache, "wait_max_seconds": 60},
    )
    key = await make_tenant(settings, "public", public=True)
    async with running(settings) as service:
        small = await upload(service, key, Random(0).randbytes(16 * KIB))
        urls = []
        for number in range(readers):
            # The same byte everywhere is never cut before the maximum: one chunk of 8 MiB each.
            made = await upload(service, key, number.to_bytes(1, "big") * CHUNK)
            urls.append(made["links"]["media"])
        before = _resident_bytes()
        connections = [await service.slow_socket(get(url)) for url in urls]
        begun = await asyncio.gather(*(first_bytes(connection) for connection in connections))
        assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in begun)
        memory = service.app[MEMORY]
        assert memory.in_use_max_bytes <= budget
        await _quick_reads(service, small["links"]["media"])
        grown = _resident_bytes() - before
        # Beside budget and cache: what 200 connections cost, and what the allocator keeps.
        assert grown < budget + cache + 64 * MIB
        for number, connection in enumerate(connections):
            received = begun[number] + await rest(connection)
            assert received.partition(b"\r\n\r\n")[2] == number.to_bytes(1, "big") * CHUNK
            connection.close()
        assert memory.in_use_max_bytes <= budget
        await until(lambda: memory.in_use_bytes == 0)


async def _quick_reads(service: Service, url: str) -> None:
    async with asyncio.timeout(20):
        for _ in range(100):
            async with service.client.get(url) as response:
                assert response.status == 200
                assert len(await response.read()) == 16 * KIB


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
