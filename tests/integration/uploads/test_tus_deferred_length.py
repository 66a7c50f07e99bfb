"""tus, Extensions: Creation, Upload-Defer-Length: the length comes later, once, or never."""

from typing import Any

import asyncpg
import pytest

from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.test_checksum import checksum
from tests.integration.uploads.test_tus import PATCH_TYPE, content, patch, stored
from tests.recount_exact import assert_references_exact

CHUNK_MIN, CHUNK_MAX = 1024, 8192
SIZES = [0, 1, CHUNK_MIN - 1, CHUNK_MIN, CHUNK_MAX + 1]


async def begun(service: Service, **says: str) -> str:
    answer = await service.client.post(
        "/v1/uploads", headers={**service.tus, "Upload-Defer-Length": "1", **says}
    )
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, "0")
    return answer.headers["Location"]


async def send(
    service: Service, url: str, offset: int, data: Any, length: int | None = None, **says: str
) -> tuple[int, str | None]:
    declared = {} if length is None else {"Upload-Length": str(length)}
    headers = {**service.tus, **PATCH_TYPE, "Upload-Offset": str(offset), **declared, **says}
    answer = await service.client.patch(url, data=data, headers=headers)
    code = (await answer.json(content_type=None))["code"] if answer.status >= 400 else None
    return answer.status, code


async def standing(service: Service, url: str) -> tuple[str, str | None, str | None]:
    """Offset, length and whether it is deferred, as HEAD says it."""
    answer = await service.client.head(url, headers=service.tus)
    assert answer.status == 200
    said = answer.headers
    return said["Upload-Offset"], said.get("Upload-Length"), said.get("Upload-Defer-Length")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("declared", ["first", "last", "alone"])
async def test_whenever_the_length_is_declared_the_content_is_whole(
    service: Service, size: int, declared: str
) -> None:
    data, half = content(size), size // 2
    url = await begun(service)
    assert await standing(service, url) == ("0", None, "1")
    assert await send(service, url, 0, data[:half], size if declared == "first" else None) == (
        204,
        None,
    )
    if half or size:
        length, deferred = (str(size), None) if declared == "first" else (None, "1")
        assert await standing(service, url) == (str(half), length, deferred)
        last = size if declared == "last" else None
        assert await send(service, url, half, data[half:], last) == (204, None)
    if not (declared == "first" or (declared == "last" and size)):
        assert await standing(service, url) == (str(size), None, "1")
        assert await send(service, url, size, b"", size) == (204, None)
    assert await standing(service, url) == (str(size), str(size), None)
    assert await stored(service, url) == data


@pytest.mark.parametrize("size", SIZES)
async def test_a_length_that_is_never_declared_never_finishes_it_stays_and_expires(
    start: Starter, sql: asyncpg.Connection, size: int
) -> None:
    service = await start()
    data = content(size)
    headers = {**service.tus, **PATCH_TYPE, "Upload-Defer-Length": "1"}
    answer = await service.client.post("/v1/uploads", data=data, headers=headers)
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, str(size))
    url = answer.headers["Location"]
    for _ in range(2):
        assert await send(service, url, size, b"") == (204, None)
        assert await standing(service, url) == (str(size), None, "1")
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0
    await sql.execute("UPDATE uploads SET expires_at = now() - interval '1s'")
    assert (await service.client.head(url, headers=service.tus)).status == 404
    assert await send(service, url, size, b"", size) == (404, "not_found")
    await sql.execute("SELECT uploads_expire_v1(10)")
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    await assert_references_exact(sql)


async def test_a_length_is_declared_once(service: Service) -> None:
    data = content(3000)
    url = await begun(service)
    assert await send(service, url, 0, data[:1000]) == (204, None)
    assert await send(service, url, 1000, b"", 999) == (400, "bad_length")
    assert await send(service, url, 1000, b"", 1 << 50) == (413, "too_large")
    assert await send(service, url, 1000, data[1000:], 2999) == (413, "too_large")
    assert await standing(service, url) == ("1000", None, "1")
    assert await send(service, url, 1000, data[1000:2000], 3000) == (204, None)
    for other in (2000, 2999, 3001):
        assert await send(service, url, 2000, b"", other) == (400, "bad_length")
    assert await standing(service, url) == ("2000", "3000", None)
    assert await send(service, url, 2000, data[2000:], 3000) == (204, None)
    assert await send(service, url, 3000, b"", 3001) == (400, "bad_length")
    assert await stored(service, url) == data


async def test_a_request_at_a_wrong_offset_declares_nothing(service: Service) -> None:
    url = await begun(service)
    assert await send(service, url, 5, b"x", 6) == (409, "offset_mismatch")
    assert await standing(service, url) == ("0", None, "1")


async def test_the_last_answer_was_lost(service: Service) -> None:
    data = content(3000)
    url = await begun(service)
    assert await send(service, url, 0, data, 3000, **checksum(data)) == (204, None)
    assert await send(service, url, 0, data, 3000, **checksum(data)) == (409, "offset_mismatch")
    assert await standing(service, url) == ("3000", "3000", None)
    assert await send(service, url, 3000, b"", 3000, **checksum(b"")) == (204, None)
    assert await stored(service, url) == data


async def test_a_wrong_checksum_beside_a_length_moves_nothing(service: Service) -> None:
    """The length stays, as tus has it for every length that was once set; the bytes do not."""
    data = content(3000)
    url = await begun(service)
    wrong = checksum(b"other")
    assert await send(service, url, 0, data, 3000, **wrong) == (460, "checksum_mismatch")
    assert (await standing(service, url))[0] == "0"
    assert await send(service, url, 0, data, 3000, **checksum(data)) == (204, None)
    assert await stored(service, url) == data


async def test_another_process_finishes_a_deferred_length(start: Starter) -> None:
    first = await start()
    second = await start(first.kept)
    data = content(20_000)
    url = await begun(first)
    assert await patch(first, url, 0, data) == (204, "20000")
    assert await send(second, url, 20_000, b"", 20_000) == (204, None)
    assert await stored(second, url) == data
