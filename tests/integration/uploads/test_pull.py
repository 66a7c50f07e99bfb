"""Content fetched from a URL: sources that break off, change, redirect and lie."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from blake3 import blake3

from mediastore.uploads.pull import PULL_TYPE, PULLS
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_form import check_exact
from tests.integration.uploads.test_tus import content, stored

ETAG = 'ETag: "v1"'
DATA = content(100_000)


@dataclass
class Asked:
    """One request that the source got."""

    path: str
    headers: dict[str, str]


@dataclass
class FakeSource:
    """A web server that answers as it is told to: each answer is bytes, then the connection ends.
    The last one is given again and again.
    """

    port: int = 0
    answers: list[bytes] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    gate: asyncio.Event | None = None

    def url(self, path: str = "/a.jpg", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        pairs = (line.partition(": ") for line in head[1:] if line)
        headers = {name.lower(): value for name, _, value in pairs}
        self.asked.append(Asked(head[0].split(" ")[1], headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        writer.write(answer)
        if self.gate is not None:
            await self.gate.wait()
        writer.close()


def answer(
    data: bytes, *headers: str, status: str = "200 OK", length: int | None = None, start: int = 0
) -> bytes:
    """A response; of a partial one `data` is what lies behind `start`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data) if length is None else length}"]
    if status.startswith("206"):
        total = start + (len(data) if length is None else length)
        lines.append(f"Content-Range: bytes {start}-{total - 1}/{total}")
    return "\r\n".join([*lines, *headers, "", ""]).encode() + data


@pytest.fixture
async def source() -> AsyncIterator[FakeSource]:
    fake = FakeSource()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    yield fake
    server.close()
    await server.wait_closed()


StartPulling = Callable[..., Any]


@pytest.fixture
def pulling(start: Starter, source: FakeSource) -> StartPulling:
    async def starter(pull: dict[str, Any] | None = None, **sections: Any) -> Service:
        settings = {
            "hosts": ["127.0.0.1", "localhost"],
            "ports": [source.port],
            "allow_http": True,
            "allow_private_addresses": True,
            "retry_delay_seconds": 0,
            **(pull or {}),
        }
        return await start(pull=settings, **sections)

    return starter


async def pull(
    service: Service, url: str, *, headers: dict[str, str] | None = None, **said: Any
) -> tuple[int, dict[str, Any]]:
    document = {"source": {"url": url, "headers": headers or {}}, **said}
    sent = await service.client.post(
        "/v1/objects", json=document, headers={**service.bearer, "Content-Type": PULL_TYPE}
    )
    return sent.status, await sent.json()


async def test_a_url_becomes_an_object(
    pulling: StartPulling, source: FakeSource, sql: asyncpg.Connection
) -> None:
    service = await pulling()
    source.answers = [answer(DATA, "Content-Type: image/jpeg", "Content-Encoding: gzip")]
    status, made = await pull(
        service,
        source.url(),
        name="a.jpg",
        owner="ann",
        metadata={"a": 1},
        blake3=blake3(DATA).hexdigest(),
    )
    assert status == 201
    told = (made["name"], made["owner"], made["metadata"], made["content_type"], made["size"])
    assert told == ("a.jpg", "ann", {"a": 1}, "image/jpeg", 100_000)
    assert await stored(service, made["links"]["self"]) == DATA
    assert source.asked[0].headers["accept-encoding"] == "identity"
    assert service.app[PULLS].under_way == 0
    await check_exact(service, sql)


async def test_it_is_off_by_default(service: Service, source: FakeSource) -> None:
    status, told = await pull(service, source.url())
    assert (status, told["code"]) == (403, "source_refused")
    assert source.asked == []


async def test_a_json_file_is_content(service: Service) -> None:
    sent = await service.client.post(
        "/v1/objects", json={"source": {"url": "http://127.0.0.1/"}}, headers=service.bearer
    )
    assert sent.status == 201
    assert (await sent.json())["content_type"] == "application/json"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"source": "https://example.com/"},
        {"source": {"url": 1}},
        {"source": {"url": "https://x/", "method": "POST"}},
        {"source": {"url": "https://x/"}, "nmae": "x"},
        {"source": {"url": "https://x/"}, "name": 1},
        {"source": {"url": "https://x/", "headers": []}},
        {"source": {"url": "https://x/", "headers": {"A": 1}}},
        {"source": {"url": "https://x/", "headers": {"A": "b\r\nHost: c"}}},
        {"source": {"url": "https://x/", "headers": {"A b": "c"}}},
        {"source": {"url": "https://x/", "headers": {"Host": "c"}}},
        {"source": {"url": "https://x/", "headers": {"Range": "bytes=0-"}}},
        {"source": {"url": "https://x/", "headers": {"proxy-authorization": "c"}}},
        {"source": {"url": "https://x/", "headers": {f"A{n}": "c" for n in range(17)}}},
    ],
)
async def test_a_request_that_is_not_valid(service: Service, document: dict[str, Any]) -> None:
    sent = await service.client.post(
        "/v1/objects", json=document, headers={**service.bearer, "Content-Type": PULL_TYPE}
    )
    assert (sent.status, (await sent.json())["code"]) == (400, "bad_request")


async def test_it_goes_on_where_the_source_broke_off(
    pulling: StartPulling, source: FakeSource, sql: asyncpg.Connection
) -> None:
    service = await pulling()
    source.answers = [
        answer(DATA[:30_000], ETAG, length=100_000),
        answer(DATA[30_000:70_000], ETAG, status="206 x", length=70_000, start=30_000),
        answer(DATA[70_000:], ETAG, status="206 x", start=70_000),
    ]
    status, made = await pull(service, source.url(), headers={"Authorization": "Bearer t"})
    assert status == 201
    assert await stored(service, made["links"]["self"]) == DATA
    ranges = [(a.headers.get("range"), a.headers.get("if-range")) for a in source.asked]
    assert ranges == [(None, None), ("bytes=30000-", '"v1"'), ("bytes=70000-", '"v1"')]
    assert {a.headers["authorization"] for a in source.asked} == {"Bearer t"}
    await check_exact(service, sql)


async def test_a_date_that_has_settled_will_do(pulling: StartPulling, source: FakeSource) -> None:
    service = await pulling()
    dates = (
        "Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT",
        "Date: Sat, 01 Nov 2025 10:01:00 GMT",
    )
    source.answers = [
        answer(DATA[:9], *dates, length=100_000),
        answer(DATA[9:], *dates, status="206 x", start=9),
    ]
    assert (await pull(service, source.url()))[0] == 201
    assert source.asked[1].headers["if-range"] == "Sat, 01 Nov 2025 10:00:00 GMT"


@pytest.mark.parametrize(
    ("second", "reason", "headers"),
    [
        (answer(DATA, ETAG), "changed", [ETAG]),
        (answer(b"", status="404 Not Found"), "status", [ETAG]),
        (answer(DATA[8:], status="206 x", start=8), "changed", [ETAG]),
        (answer(DATA[9:] + b"x", status="206 x", start=9), "changed", [ETAG]),
        (b"HTTP/1.1 206 x\r\nContent-Length: 1\r\n\r\nx", "changed", [ETAG]),
        (b"", "broke_off", []),
        (b"", "broke_off", ['ETag: W/"v1"']),
        (
            b"",
            "broke_off",
            [
                "Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT",
                "Date: Sat, 01 Nov 2025 10:00:59 GMT",
            ],
        ),
        (b"", "broke_off", ["Last-Modified: yesterday", "Date: today"]),
    ],
)
async def test_what_cannot_be_resumed_leaves_nothing(
    pulling: StartPulling,
    source: FakeSource,
    sql: asyncpg.Connection,
    second: bytes,
    reason: str,
    headers: list[str],
) -> None:
    service = await pulling()
    source.answers = [answer(DATA[:9], *headers, length=100_000), second]
    status, told = await pull(service, source.url())
    assert (status, told["code"], told["reason"]) == (502, "source_failed", reason)
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0
    await check_exact(service, sql)


async def test_attempts_are_limited(
    pulling: StartPulling, source: FakeSource, sql: asyncpg.Connection
) -> None:
    service = await pulling({"attempts_max": 3})
    source.answers = [answer(b"", ETAG, length=100_000)]
    status, told = await pull(service, source.url())
    assert (status, told["code"], told["reason"]) == (502, "source_failed", "broke_off")
    assert len(source.asked) == 3
    source.answers = [answer(b"", status="503 x")]
    status, told = await pull(service, source.url())
    assert (told["reason"], told["source_status"]) == ("status", 503)
    assert len(source.asked) == 6
    await check_exact(service, sql)


async def test_a_source_that_comes_back(pulling: StartPulling, source: FakeSource) -> None:
    service = await pulling()
    source.answers = [answer(b"", status="503 x"), b"", answer(DATA)]
    assert (await pull(service, source.url()))[0] == 201


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        (answer(b"", status="404 Not Found"), "source_failed", "status"),
        (answer(b"x", status="206 x", start=0), "source_failed", "status"),
        (b"HTTP/1.1 200 OK\r\n\r\nx", "source_failed", "length"),
        (answer(b"", length=10**9), "too_large", None),
        (answer(b"", "Location: /b", status="302 x"), "source_failed", "redirects"),
        (answer(b"", "Location: ftp://127.0.0.1/", status="302 x"), "source_refused", None),
        (answer(b"", "Location: http://evil.test/", status="302 x"), "source_refused", None),
        (answer(b"", "Location: http://127.0.0.1:1/", status="302 x"), "source_refused", None),
        (answer(b"", "Location: http://u@127.0.0.1/", status="302 x"), "source_refused", None),
        (answer(b"", "Location: http://[/", status="302 x"), "source_failed", "redirects"),
        (b"not http at all\r\n\r\n", "source_failed", "unreachable"),
    ],
)
async def test_a_source_that_is_no_use(
    pulling: StartPulling,
    source: FakeSource,
    sql: asyncpg.Connection,
    first: bytes,
    code: str,
    reason: str | None,
) -> None:
    service = await pulling({"size_max_bytes": 10**8})
    source.answers = [first]
    _, told = await pull(service, source.url())
    assert (told["code"], told.get("reason")) == (code, reason)
    await check_exact(service, sql)


async def test_chunked_content_past_the_limit(
    pulling: StartPulling, source: FakeSource, sql: asyncpg.Connection
) -> None:
    service = await pulling({"size_max_bytes": 99_999})
    chunk = f"{len(DATA):x}\r\n".encode() + DATA + b"\r\n0\r\n\r\n"
    source.answers = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk]
    status, told = await pull(service, source.url())
    assert (status, told["code"]) == (413, "too_large")
    await check_exact(service, sql)


async def test_what_a_client_wants_sent_goes_to_its_source_alone(
    pulling: StartPulling, source: FakeSource
) -> None:
    service = await pulling()
    source.answers = [
        answer(b"", "Location: /b", status="307 x"),
        answer(b"", f"Location: {source.url('/c', 'localhost')}", status="302 x"),
        answer(DATA),
    ]
    assert (await pull(service, source.url(), headers={"X-Token": "t"}))[0] == 201
    assert [(a.path, a.headers.get("x-token")) for a in source.asked] == [
        ("/a.jpg", "t"),
        ("/b", "t"),
        ("/c", None),
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_private_address_is_not_connected_to(
    pulling: StartPulling, source: FakeSource, host: str
) -> None:
    service = await pulling({"allow_private_addresses": False})
    status, told = await pull(service, source.url(host=host))
    assert (status, told["code"]) == (403, "source_refused")
    assert source.asked == []


async def test_another_content_than_declared(
    pulling: StartPulling, source: FakeSource, sql: asyncpg.Connection
) -> None:
    service = await pulling()
    source.answers = [answer(DATA)]
    status, told = await pull(service, source.url(), blake3="0" * 64)
    assert (status, told["code"]) == (400, "bad_digest")
    await check_exact(service, sql)


async def test_silence_ends_a_pull(
    pulling: StartPulling, source: FakeSource, sql: asyncpg.Connection
) -> None:
    service = await pulling({"attempts_max": 2}, http={"body_idle_timeout_seconds": 0.1})
    source.gate = asyncio.Event()
    source.answers = [
        answer(DATA[:9], ETAG, length=100_000),
        answer(DATA[9:18], ETAG, status="206 x", length=99_991, start=9),
    ]
    status, told = await pull(service, source.url())
    assert (status, told["code"], told["reason"]) == (502, "source_failed", "too_slow")
    source.gate.set()
    await check_exact(service, sql)


async def test_a_source_that_does_not_answer(pulling: StartPulling, source: FakeSource) -> None:
    service = await pulling({"attempts_max": 2, "connect_timeout_seconds": 0.1})
    source.gate = asyncio.Event()
    source.answers = [b""]
    status, told = await pull(service, source.url())
    assert (status, told["code"], told["reason"]) == (502, "source_failed", "unreachable")
    source.gate.set()


async def test_a_pull_that_takes_too_long(pulling: StartPulling, source: FakeSource) -> None:
    service = await pulling({"duration_max_seconds": 1e-9})
    source.answers = [answer(DATA)]
    status, told = await pull(service, source.url())
    assert (status, told["code"], told["reason"]) == (502, "source_failed", "duration")


async def test_only_so_many_at_once_and_a_stop_ends_them(
    pulling: StartPulling, source: FakeSource, sql: asyncpg.Connection
) -> None:
    service = await pulling({"at_once_max": 1})
    source.gate = asyncio.Event()
    source.answers = [answer(DATA[:50_000], length=100_000)]
    going = asyncio.create_task(pull(service, source.url()))
    await until(lambda: any(b.received_bytes for b in service.uploads._bodies.values()))
    status, told = await pull(service, source.url())
    assert (status, told["code"]) == (503, "overloaded")
    await service.uploads.stop()
    status, told = await going
    assert (status, told["code"]) == (503, "shutting_down")
    assert service.app[PULLS].under_way == 0
    source.gate.set()
    await check_exact(service, sql)


async def test_a_pull_that_asks_again_still_lets_go_and_still_stops(
    pulling: StartPulling, source: FakeSource, sql: asyncpg.Connection
) -> None:
    service = await pulling({"retry_delay_seconds": 1000}, chunking={})
    data = content(5_000_000)
    source.answers = [answer(data[:4_000_000], ETAG, length=5_000_000)]
    going = asyncio.create_task(pull(service, source.url()))
    memory = service.memory
    await until(lambda: bool(service.uploads._bodies) and memory.in_use_bytes >= 4_000_000)
    await memory.acquire(memory.limit_bytes - 1000, timeout_seconds=10)
    assert len(service.kept._held) > 0
    memory.release(memory.limit_bytes - 1000)
    await service.uploads.stop()
    status, told = await going
    assert (status, told["code"]) == (503, "shutting_down")
    await check_exact(service, sql)


async def test_an_idempotency_key_pulls_once(pulling: StartPulling, source: FakeSource) -> None:
    service = await pulling()
    source.answers = [answer(DATA)]
    headers = {**service.bearer, "Content-Type": PULL_TYPE, "Idempotency-Key": "k"}
    document = {"source": {"url": source.url()}}
    sent = [
        await service.client.post("/v1/objects", json=document, headers=headers) for _ in range(2)
    ]
    assert [each.status for each in sent] == [201, 200]
    assert await sent[0].json() == await sent[1].json()
    assert len(source.asked) == 1


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
async def test_a_digest_of_the_json_is_not_passed_over(
    pulling: StartPulling, source: FakeSource, field: str
) -> None:
    service = await pulling()
    headers = {**service.bearer, "Content-Type": PULL_TYPE, field: "sha-256=:AAAA:"}
    document = {"source": {"url": source.url()}}
    refused = await service.client.post("/v1/objects", json=document, headers=headers)
    assert (refused.status, (await refused.json())["code"]) == (400, "bad_request")
    assert source.asked == []


async def test_pulls_are_counted(pulling: StartPulling, source: FakeSource) -> None:
    service = await pulling()
    source.answers = [answer(DATA), answer(b"", status="404 x")]
    await pull(service, source.url())
    await pull(service, source.url())
    await pull(service, "http://evil.test/")
    pulls = service.uploads.parts.metrics.pulls
    assert {name: pulls[name]._value.get() for name in pulls} == {
        "made": 1,
        "failed": 1,
        "refused": 1,
        "other": 0,
    }
