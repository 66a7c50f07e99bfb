"""Digests that clients declare of the whole content: checked at the finish, kept when right."""

from base64 import b64encode
from hashlib import md5, sha256, sha512
from uuid import UUID

import asyncpg
import pytest

from mediastore.catalog.digests import find_blob_digests
from mediastore.catalog.objects import get_object
from mediastore.content.digests import format_digests
from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, offset_of, patch, stored
from tests.recount_exact import assert_references_exact

SIZES = [0, 1, 5000, 300_000]  # nothing, one chunk, several, several batches
FEW = {"batch_max_bytes": 64 * 1024}


def in_metadata(data: bytes) -> dict[str, str]:
    digest = b64encode(sha256(data).hexdigest().encode()).decode()
    return {"Upload-Metadata": f"filename YQ==,sha-256 {digest}"}


def in_field(data: bytes, field: str = "Repr-Digest") -> dict[str, str]:
    digests = {"sha-512": sha512(data).digest(), "md5": md5(data).digest()}
    return {field: f"{format_digests(digests)}, unixsum=:Gg==:"}


async def kept(service: Service, url: str) -> dict[str, bytes]:
    made = await get_object(service.catalog, "acme", UUID(url.rpartition("/")[2]))
    assert made is not None
    assert "sha-256" not in made.metadata
    return await find_blob_digests(service.catalog, made.blob)


async def assert_nothing_is_left(sql: asyncpg.Connection) -> None:
    for table in ("objects", "uploads", "upload_chunks", "blobs", "blob_digests"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0
    await assert_references_exact(sql)


@pytest.mark.parametrize("size", SIZES)
async def test_right_digests_are_kept_with_the_blob(start: Starter, size: int) -> None:
    service = await start(uploads=FEW)
    data = content(size)
    url = await create(service, size, **in_metadata(data))
    if size:
        assert await patch(service, url, 0, data[: size // 2]) == (204, str(size // 2))
        assert await patch(service, url, size // 2, data[size // 2 :]) == (204, str(size))
    assert await stored(service, url) == data
    assert await kept(service, url) == {"sha-256": sha256(data).digest()}
    again = await create(service, size, **in_field(data))
    if size:
        assert await patch(service, again, 0, data) == (204, str(size))
    assert await kept(service, url) == {
        "md5": md5(data).digest(),
        "sha-256": sha256(data).digest(),
        "sha-512": sha512(data).digest(),
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("says", [in_metadata, in_field])
async def test_a_wrong_digest_refuses_the_finish_and_leaves_nothing(
    start: Starter, sql: asyncpg.Connection, size: int, says: object
) -> None:
    assert callable(says)
    service = await start(uploads=FEW)
    data = content(size)
    headers = {**service.tus, "Upload-Length": str(size), **says(b"other")}
    answer = await service.client.post("/v1/uploads", headers=headers)
    if size:
        url = answer.headers["Location"]
        assert await patch(service, url, 0, data[:-1]) == (204, str(size - 1))
        last = {**service.tus, **PATCH_TYPE, "Upload-Offset": str(size - 1)}
        answer = await service.client.patch(url, data=data[-1:], headers=last)
    assert (answer.status, (await answer.json())["code"]) == (400, "bad_digest")
    await assert_nothing_is_left(sql)


@pytest.mark.parametrize("size", SIZES)
async def test_creation_with_the_whole_content(
    start: Starter, sql: asyncpg.Connection, size: int
) -> None:
    """New, linked, and with a wrong digest, which is seen before anything is written."""
    service = await start(uploads=FEW)
    data = content(size)
    headers = {**service.tus, **PATCH_TYPE, "Upload-Length": str(size)}
    wrong = {**headers, **in_field(b"other")}
    answer = await service.client.post("/v1/uploads", data=data, headers=wrong)
    assert (answer.status, (await answer.json())["code"]) == (400, "bad_digest")
    assert size > 200_000 or service.store.count("put") == 0
    await assert_nothing_is_left(sql)
    for says in (in_metadata(data), in_field(data)):
        answer = await service.client.post("/v1/uploads", data=data, headers={**headers, **says})
        assert answer.status == 201
    assert set(await kept(service, answer.headers["Location"])) == {"md5", "sha-256", "sha-512"}


@pytest.mark.parametrize("right", [True, False])
async def test_a_process_that_reads_the_content_back_checks_it_as_well(
    start: Starter, sql: asyncpg.Connection, right: bool
) -> None:
    first = await start()
    second = await start(first.kept)
    data = content(50_000)
    url = await create(first, 50_000, **in_metadata(data if right else b"other"))
    assert await patch(first, url, 0, data[:30_000]) == (204, "30000")
    status, _ = await patch(second, url, 30_000, data[30_000:])
    if right:
        assert status == 204
        assert await kept(second, url) == {"sha-256": sha256(data).digest()}
    else:
        assert status == 400
        await assert_nothing_is_left(sql)


async def test_a_dead_finishing_job_is_taken_over_with_the_digests_to_check(
    start: Starter, sql: asyncpg.Connection
) -> None:
    first = await start()
    data = content(50_000)
    url = await create(first, 50_001, **in_metadata(data))
    assert await patch(first, url, 0, data) == (204, "50000")
    await sql.execute(
        "UPDATE uploads SET length = 50000, state = 'finishing', touched_at = now() - interval '1h'"
    )
    second = await start(first.kept)
    assert await offset_of(second, url) == 50_000
    assert await kept(second, url) == {"sha-256": sha256(data).digest()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("field", ["?sha-256", "Repr-Digest", "Content-Digest"])
async def test_one_request(start: Starter, sql: asyncpg.Connection, size: int, field: str) -> None:
    service = await start(uploads=FEW)
    data = content(size)
    for said, status in ((b"other", 400), (data, 201)):
        query, headers = "", {}
        if field == "?sha-256":
            query = f"?sha-256={sha256(said).hexdigest()}"
        else:
            headers = in_field(said, field)
        answer = await service.client.post(
            f"/v1/objects{query}", data=data, headers={**service.bearer, **headers}
        )
        assert answer.status == status, await answer.text()
        if status == 400:
            assert (await answer.json())["code"] == "bad_digest"
            await assert_nothing_is_left(sql)
    assert await sql.fetchval("SELECT count(*) > 0 FROM blob_digests")


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ({"Repr-Digest": "sha-256=:AAAA:"}, "bad_checksum"),
        ({"Repr-Digest": "sha-256"}, "bad_checksum"),
        ({"Upload-Metadata": "sha-256 QUJD"}, "bad_metadata"),
        (
            {
                **in_metadata(b"x"),
                "Repr-Digest": format_digests({"sha-256": sha256(b"y").digest()}),
            },
            "bad_digest",
        ),
    ],
)
async def test_what_is_not_a_digest_or_contradicts_another_is_refused_at_once(
    service: Service, sql: asyncpg.Connection, says: dict[str, str], code: str
) -> None:
    answer = await service.client.post(
        "/v1/uploads", headers={**service.tus, "Upload-Length": "1", **says}
    )
    assert (answer.status, (await answer.json())["code"]) == (400, code)
    await assert_nothing_is_left(sql)
