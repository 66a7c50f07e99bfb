"""tus 1.0.0 over HTTP against real Postgres: what a client sees."""

from base64 import b64encode
from io import BytesIO
from random import Random
from uuid import UUID

import asyncpg
import pytest
from blake3 import blake3

from mediastore.catalog.objects import get_object
from tests.integration.uploads.conftest import Service, Starter

PATCH_TYPE = {"Content-Type": "application/offset+octet-stream"}


def content(size: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(size)


async def create(service: Service, length: int, **headers: str) -> str:
    answer = await service.client.post(
        "/v1/uploads", headers={**service.tus, "Upload-Length": str(length), **headers}
    )
    assert answer.status == 201, await answer.text()
    return answer.headers["Location"]


async def patch(service: Service, url: str, offset: int, data: bytes) -> tuple[int, str | None]:
    answer = await service.client.patch(
        url,
        data=BytesIO(data),
        headers={**service.tus, **PATCH_TYPE, "Upload-Offset": str(offset)},
    )
    return answer.status, answer.headers.get("Upload-Offset")


async def offset_of(service: Service, url: str) -> int:
    answer = await service.client.head(url, headers=service.tus)
    assert answer.status == 200
    return int(answer.headers["Upload-Offset"])


async def stored(service: Service, url: str) -> bytes:
    """The object's content, put together from its manifest and the store."""
    made = await get_object(service.catalog, "acme", UUID(url.rpartition("/")[2]))
    assert made is not None
    rows = await service.catalog.fetch("blob_read", made.blob, 0, made.size, 1_000_000)
    pieces = [
        await service.kept.get(f"chunks/{row['hash'].hex()}/{row['generation']:016x}")
        for row in rows
    ]
    joined = b"".join(pieces)
    assert blake3(joined).digest() == made.blob
    assert len(joined) == made.size
    return joined


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 8192, 8193, 100_000])
async def test_an_upload_in_two_requests_becomes_the_object(service: Service, size: int) -> None:
    data = content(size)
    url = await create(service, size)
    half = size // 2
    if size:
        assert await patch(service, url, 0, data[:half]) == (204, str(half))
        assert await offset_of(service, url) == half
        assert await patch(service, url, half, data[half:]) == (204, str(size))
    assert await offset_of(service, url) == size
    assert await stored(service, url) == data


@pytest.mark.parametrize("size", [0, 1, 5000, 100_000])
async def test_creation_with_upload(service: Service, size: int) -> None:
    data = content(size)
    answer = await service.client.post(
        "/v1/uploads",
        data=data,
        headers={**service.tus, **PATCH_TYPE, "Upload-Length": str(size)},
    )
    assert answer.status == 201
    assert answer.headers["Upload-Offset"] == str(size)
    assert await stored(service, answer.headers["Location"]) == data


async def test_creation_with_part_of_the_content(service: Service) -> None:
    data = content(50_000)
    answer = await service.client.post(
        "/v1/uploads",
        data=data[:20_000],
        headers={**service.tus, **PATCH_TYPE, "Upload-Length": "50000"},
    )
    assert answer.headers["Upload-Offset"] == "20000"
    assert "Upload-Expires" in answer.headers
    url = answer.headers["Location"]
    assert await patch(service, url, 20_000, data[20_000:]) == (204, "50000")
    assert await stored(service, url) == data


async def test_metadata_becomes_the_objects_fields(service: Service) -> None:
    pairs = {"filename": "Ferien ☀.jpg", "filetype": "image/jpeg", "owner": "u1", "album": "x"}
    header = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())
    url = await create(service, 0, **{"Upload-Metadata": header})
    made = await get_object(service.catalog, "acme", UUID(url.rpartition("/")[2]))
    assert made is not None
    assert (made.name, made.content_type, made.owner) == ("Ferien ☀.jpg", "image/jpeg", "u1")
    assert made.metadata == {"album": "x"}


async def test_the_last_request_can_be_repeated(service: Service) -> None:
    data = content(3000)
    url = await create(service, 3000)
    assert await patch(service, url, 0, data) == (204, "3000")
    assert await patch(service, url, 3000, b"") == (204, "3000")
    assert await patch(service, url, 0, data) == (409, "3000")


async def test_a_wrong_offset_takes_nothing(service: Service, sql: asyncpg.Connection) -> None:
    url = await create(service, 10)
    assert await patch(service, url, 0, b"12345") == (204, "5")
    epoch = await sql.fetchval("SELECT epoch FROM uploads")
    assert await patch(service, url, 4, b"xxxxxx") == (409, "5")
    assert await sql.fetchval("SELECT epoch FROM uploads") == epoch
    assert await patch(service, url, 5, b"67890") == (204, "10")
    assert await stored(service, url) == b"1234567890"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload-Length": "-1"}, 400, "bad_length"),
        ({"Upload-Length": "1e3"}, 400, "bad_length"),
        ({"Upload-Length": "9" * 30}, 400, "bad_length"),
        ({"Upload-Length": "9" * 17}, 413, "too_large"),
        ({}, 400, "bad_length"),
        ({"Upload-Defer-Length": "0"}, 400, "bad_length"),
        ({"Upload-Defer-Length": "1", "Upload-Length": "1"}, 400, "bad_length"),
        ({"Upload-Length": "1", "Upload-Metadata": "name not*base64"}, 400, "bad_metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": "a YQ==,a YQ=="}, 400, "bad_metadata"),
        (
            {"Upload-Length": "1", "Upload-Metadata": "filetype bm90IGEgdHlwZQ=="},
            400,
            "bad_metadata",
        ),
        ({"Upload-Length": "1", "Tus-Resumable": "0.2.2"}, 412, "unsupported_tus_version"),
        ({"Upload-Length": "1", "Authorization": "Bearer no"}, 401, "unauthorized"),
    ],
)
async def test_bad_creations(
    service: Service, headers: dict[str, str], status: int, code: str, sql: asyncpg.Connection
) -> None:
    answer = await service.client.post("/v1/uploads", headers={**service.tus, **headers})
    assert (answer.status, (await answer.json())["code"]) == (status, code)
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0


async def test_bad_patches(service: Service) -> None:
    url = await create(service, 10)
    wrong_type = await service.client.patch(
        url, data=b"x", headers={**service.tus, "Upload-Offset": "0", "Content-Type": "text/plain"}
    )
    assert wrong_type.status == 415
    no_offset = await service.client.patch(
        url, data=b"x", headers={**service.tus, **PATCH_TYPE, "Upload-Offset": "0x0"}
    )
    assert no_offset.status == 400
    assert (await patch(service, url, 0, b"x" * 11))[0] == 413
    assert (await patch(service, "/v1/uploads/nonsense", 0, b"x"))[0] == 404
    assert (await patch(service, f"/v1/uploads/{UUID(int=7)}", 0, b"x"))[0] == 404
    assert await offset_of(service, url) == 0


async def test_a_chunked_body_past_the_length_is_refused(service: Service) -> None:
    async def endless() -> object:
        for _ in range(100):
            yield b"x" * 1000

    url = await create(service, 10)
    answer = await service.client.patch(
        url, data=endless(), headers={**service.tus, **PATCH_TYPE, "Upload-Offset": "0"}
    )
    assert answer.status == 413
    assert await offset_of(service, url) == 0


async def test_termination_releases_everything(service: Service, sql: asyncpg.Connection) -> None:
    data = content(30_000)
    url = await create(service, 60_000)
    await patch(service, url, 0, data)
    answer = await service.client.delete(url, headers=service.tus)
    assert answer.status == 204
    assert (await service.client.head(url, headers=service.tus)).status == 404
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    counted = await sql.fetchval("SELECT sum(length(entries) / 40) FROM unlinking")
    assert counted == await sql.fetchval("SELECT sum(refs) FROM chunks")


async def test_a_finished_upload_is_not_terminated(service: Service) -> None:
    url = await create(service, 0)
    answer = await service.client.delete(url, headers=service.tus)
    assert (answer.status, (await answer.json())["code"]) == (409, "conflict")


async def test_another_tenant_sees_nothing(service: Service) -> None:
    from mediastore.catalog.tenants import create_api_key, create_tenant

    url = await create(service, 10)
    await create_tenant(service.catalog, "other")
    key = await create_api_key(service.catalog, "other", name="x")
    headers = {**service.tus, "Authorization": f"Bearer {key}"}
    assert (await service.client.head(url, headers=headers)).status == 404
    assert (await service.client.delete(url, headers=headers)).status == 404


async def test_another_process_finishes_what_the_first_began(start: Starter) -> None:
    """The second process has not seen the beginning: it reads it back to name the blob."""
    first = await start()
    second = await start(first.kept)
    data = content(90_000)
    url = await create(first, 90_000)
    await patch(first, url, 0, data[:40_000])
    assert await patch(second, url, 40_000, data[40_000:70_000]) == (204, "70000")
    assert await patch(first, url, 70_000, data[70_000:]) == (204, "90000")
    assert await stored(first, url) == data
