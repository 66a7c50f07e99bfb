"""Whole content, ranges, conditionals and heads over HTTP."""

import asyncio
from random import Random

import pytest

from mediastore.settings import Settings
from tests.faults import Fault
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, bearer, running, upload

SIZES = (0, 1, 1000, 8192, 65_536, 65_537, 300_000)


def content(size: int) -> bytes:
    return Random(size).randbytes(size)


@pytest.mark.parametrize("size", SIZES)
async def test_the_bytes_that_were_sent_cold_and_warm(
    settings: Settings, keys: Keys, service: Service, size: int
) -> None:
    body = content(size)
    made = await upload(service, keys.acme, body, name="photo.jpg")
    async with running(settings) as cold:
        for _ in range(3):
            async with cold.client.get(
                made["links"]["content"], headers=bearer(keys.acme)
            ) as response:
                assert response.status == 200
                assert await response.read() == body
                assert response.headers["Content-Length"] == str(size)
                assert response.headers["ETag"] == f'"{made["blob"]}"'
                assert response.headers["Cache-Control"] == "private, no-cache"
                assert response.headers["Accept-Ranges"] == "bytes"
                assert response.headers["Content-Type"] == "image/jpeg"
                assert response.headers["Content-Disposition"] == 'inline; filename="photo.jpg"'
                assert "Transfer-Encoding" not in response.headers


@pytest.mark.parametrize("size", [1000, 300_000])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, None), (17, 600), (999, None), (-5, None)])
async def test_ranges(keys: Keys, service: Service, size: int, start: int, end: int | None) -> None:
    body = content(size)
    made = await upload(service, keys.public, body)
    named = f"bytes={start}" if start < 0 else f"bytes={start}-{'' if end is None else end - 1}"
    expected = body[start:end]
    async with service.client.get(made["links"]["media"], headers={"Range": named}) as response:
        assert response.status == 206
        assert await response.read() == expected
        first = size + start if start < 0 else start
        span = f"bytes {first}-{first + len(expected) - 1}/{size}"
        assert response.headers["Content-Range"] == span


async def test_chunks_are_fetched_while_an_earlier_one_is_waited_for(
    settings: Settings, keys: Keys, service: Service
) -> None:
    body = content(100_000)
    made = await upload(service, keys.public, body)
    async with running(settings) as cold:
        gates = [asyncio.Event() for _ in range(3)]
        first, second, third = (Fault(gate=gate) for gate in gates)
        cold.store.script("get", first, second, third)

        async def read() -> bytes:
            async with cold.client.get(made["links"]["media"]) as response:
                return await response.read()

        reading = asyncio.create_task(read())
        await first.reached.wait()
        assert cold.store.count("get") == 1  # nothing delays the first byte
        gates[0].set()
        async with asyncio.timeout(20):
            await second.reached.wait()
            await third.reached.wait()  # though the second has not come
        gates[1].set()
        gates[2].set()
        assert await reading == body


async def test_every_cut_of_a_range_across_chunks(keys: Keys, service: Service) -> None:
    body = content(40_000)
    made = await upload(service, keys.public, body)
    random = Random(7)
    for _ in range(60):
        start, end = sorted(random.sample(range(len(body) + 1), 2))
        headers = {"Range": f"bytes={start}-{end - 1}"}
        async with service.client.get(made["links"]["media"], headers=headers) as response:
            assert await response.read() == body[start:end]


async def test_a_range_past_the_end(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.public, content(1000))
    headers = {"Range": "bytes=1000-"}
    async with service.client.get(made["links"]["media"], headers=headers) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == "bytes */1000"
        assert (await response.json())["code"] == "range_not_satisfiable"


async def test_if_range_and_if_none_match(keys: Keys, service: Service) -> None:
    body = content(1000)
    made = await upload(service, keys.public, body)
    url, tag = made["links"]["media"], f'"{made["blob"]}"'
    for if_range, status in ((tag, 206), ('"old"', 200)):
        headers = {"Range": "bytes=0-9", "If-Range": if_range}
        async with service.client.get(url, headers=headers) as response:
            assert response.status == status
            assert await response.read() == (body[:10] if status == 206 else body)
    async with service.client.get(url, headers={"If-None-Match": tag}) as response:
        assert response.status == 304
        assert response.headers["ETag"] == tag
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Content-Length" not in response.headers
    async with service.client.get(url, headers={"If-Match": '"old"'}) as response:
        assert response.status == 412
        assert (await response.json())["code"] == "precondition_failed"


async def test_head_has_the_headers_of_get_and_no_body(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.public, content(70_000))
    url = made["links"]["media"].removeprefix("http://")
    head = await service.raw(
        f"HEAD {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    get = await service.raw(f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert head.endswith(b"\r\n\r\n")

    def fields(answer: bytes) -> set[bytes]:
        block = answer.split(b"\r\n\r\n")[0].split(b"\r\n")
        own = (b"Date", b"X-Request-Id", b"Cache-Status", b"Server-Timing")
        return {line for line in block if not line.startswith(own)}

    assert fields(head) == fields(get)
    assert b"Content-Length: 70000" in fields(head)


async def test_a_range_is_for_get_alone(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.public, content(1000))
    headers = {"Range": "bytes=0-9"}
    async with service.client.head(made["links"]["media"], headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == "1000"
        assert "Content-Range" not in response.headers


async def test_one_connection_takes_many_requests_in_a_row(keys: Keys, service: Service) -> None:
    body = content(70_000)
    made = await upload(service, keys.public, body)
    one = f"GET {made['links']['media']} HTTP/1.1\r\nHost: x\r\nRange: bytes=%d-\r\n%s\r\n"
    pipelined = "".join(
        one % (start, "Connection: close\r\n" if last else "")
        for start, last in ((0, False), (69_000, False), (1, True))
    )
    answer = await service.raw(pipelined.encode())
    assert answer.count(b"HTTP/1.1 206 Partial Content\r\n") == 3
    assert answer.endswith(b"\r\n\r\n" + body[1:])
    assert b"\r\n\r\n" + body + b"HTTP/1.1 206" in answer
    assert b"\r\n\r\n" + body[69_000:] + b"HTTP/1.1 206" in answer


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_http_1_0(keys: Keys, service: Service, keep_alive: bool) -> None:
    made = await upload(service, keys.public, b"hello")
    asked = "Connection: keep-alive\r\n" if keep_alive else ""
    one = f"GET {made['links']['media']} HTTP/1.0\r\n{asked}\r\n"
    answer = await service.raw(
        (one + f"GET {made['links']['media']} HTTP/1.0\r\n\r\n" if keep_alive else one).encode()
    )
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer.count(b"hello") == (2 if keep_alive else 1)
    assert (b"Connection: keep-alive\r\n" in answer) is keep_alive


async def test_what_a_browser_could_run_is_not_shown(keys: Keys, service: Service) -> None:
    made = await upload(
        service, keys.public, b"<script>", content_type="text/html", name='x"\N{BOMB}.html'
    )
    async with service.client.get(made["links"]["media"]) as response:
        assert response.headers["Content-Disposition"].startswith("attachment; ")
        assert "%F0%9F%92%A3" in response.headers["Content-Disposition"]
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_small_warm_read_asks_the_database_nothing(
    keys: Keys, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await upload(service, keys.acme, content(5000))
    big = await upload(service, keys.acme, content(50_000))
    urls = [
        link for one in (made, big) for link in (one["links"]["content"], one["links"]["media"])
    ]
    headers = bearer(keys.acme)

    async def read_all() -> list[int]:
        statuses = []
        for url in urls:
            async with service.client.get(url, headers=headers) as response:
                statuses.append(response.status)
                await response.read()
        return statuses

    assert await read_all() == [200] * 4

    async def refuse(*_arguments: object) -> None:
        raise AssertionError("a warm read asked the database")

    monkeypatch.setattr("mediastore.catalog.pool.Catalog._run", refuse)
    assert await read_all() == [200] * 4


async def test_wrong_methods_and_urls_are_problems(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.public, b"x")
    async with service.client.post(made["links"]["media"], data=b"y" * 10) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
        assert response.content_type == "application/problem+json"
        assert (await response.json())["code"] == "method_not_allowed"
    for path in (
        "/media/public",
        "/media/public/xyz/a.jpg",
        "/v1/nothing",
        "/media/public/x/a/b/c",
    ):
        async with service.client.get(path) as response:
            assert response.status == 404
            assert (await response.json())["code"] == "not_found"
