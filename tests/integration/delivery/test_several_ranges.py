"""RFC 9110, 14.6 and 15.3.7: several ranges over HTTP, cold and warm, as their bytes arrive."""

import re
from random import Random

import pytest

from mediastore.settings import Settings
from tests.integration.delivery.conftest import Keys
from tests.integration.delivery.test_bad_chunks import chunks_of, flip, marked
from tests.integration.service import Connection, Service, running, upload


def content(size: int) -> bytes:
    return Random(size).randbytes(size)


def get(url: str, ranges: str) -> bytes:
    return (
        f"GET {url} HTTP/1.1\r\nHost: x\r\nRange: bytes={ranges}\r\nConnection: close\r\n\r\n"
    ).encode()


def parts(answer: bytes) -> list[tuple[str, str, bytes]]:
    """Content-Type, Content-Range and bytes of each part; the length and boundaries are checked."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 206 ")
    assert b"Transfer-Encoding" not in head
    length = re.search(rb"Content-Length: (\d+)", head)
    named = re.search(rb"Content-Type: multipart/byteranges; boundary=(\w+)\r\n", head)
    assert length is not None
    assert named is not None
    assert int(length[1]) == len(body)
    assert head.count(b"Content-Type:") == 1
    assert b"Content-Range:" not in head  # 15.3.7.2: MUST NOT
    mark = b"\r\n--" + named[1]
    assert body.endswith(mark + b"--\r\n")
    found = []
    for part in body.removesuffix(mark + b"--\r\n").split(mark)[1:]:
        fields, _, data = part.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in fields.decode().strip().split("\r\n"))
        found.append((lines["Content-Type"], lines["Content-Range"], data))
    return found


@pytest.mark.parametrize("size", [1000, 8192, 70_000, 300_000])
async def test_the_parts_cold_and_warm(
    settings: Settings, keys: Keys, service: Service, size: int
) -> None:
    body = content(size)
    made = await upload(service, keys.public, body)
    async with running(settings) as cold:
        for asked in (cold, cold, service):
            answer = await asked.raw(get(made["links"]["media"], "-200,0-99,500-"))
            # The first two overlap or touch the end: what is left is in the order asked for.
            expected = [(500, size), (0, 100)]
            assert parts(answer) == [
                ("image/jpeg", f"bytes {start}-{end - 1}/{size}", body[start:end])
                for start, end in expected
            ]


async def test_ranges_that_become_one_are_no_multipart(keys: Keys, service: Service) -> None:
    """15.3.7.2: a single part is not sent as multipart when one range was left or asked for."""
    made = await upload(service, keys.public, content(1000))
    for ranges, expected in (("0-9,10-19", "0-19"), ("0-9,5000-", "0-9")):
        headers = {"Range": f"bytes={ranges}"}
        async with service.client.get(made["links"]["media"], headers=headers) as response:
            assert response.status == 206
            assert response.headers["Content-Range"] == f"bytes {expected}/1000"
            assert response.headers["Content-Type"] == "image/jpeg"


async def test_every_cut_into_ranges(keys: Keys, service: Service) -> None:
    body = content(40_000)
    made = await upload(service, keys.public, body)
    random = Random(7)
    for _ in range(20):
        cuts = sorted(random.sample(range(0, len(body), 200), 6))
        wanted = [(cuts[place], cuts[place + 1]) for place in (4, 0, 2)]
        ranges = ",".join(f"{start}-{end - 1}" for start, end in wanted)
        answer = await service.raw(get(made["links"]["media"], ranges))
        assert [data for _, _, data in parts(answer)] == [body[start:end] for start, end in wanted]


async def test_a_damaged_chunk_ends_the_answer_before_its_part(
    keys: Keys, service: Service, connection: Connection
) -> None:
    """INV-9, also for the second part."""
    body = content(40_000)
    made = await upload(service, keys.public, body)
    first, second, *_ = await chunks_of(connection, body)
    file = service.file_of(second)
    file.chmod(0o600)
    file.write_bytes(flip(second))
    inside = len(first) + len(second) - 300
    answer = await service.raw(get(made["links"]["media"], f"0-99,{inside}-{inside + 99}"))
    sent = answer.partition(b"\r\n\r\n")[2]
    assert body[inside : inside + 20] not in answer
    assert f"bytes {inside}-".encode() not in sent
    assert len(await marked(connection)) == 1


async def test_two_range_lines_are_ignored(keys: Keys, service: Service) -> None:
    """5.3: Range is no list of lines."""
    made = await upload(service, keys.public, content(1000))
    request = get(made["links"]["media"], "0-9").replace(b"Host:", b"Range: bytes=5-6\r\nHost:")
    assert (await service.raw(request)).startswith(b"HTTP/1.1 200 ")
