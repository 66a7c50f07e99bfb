"""IETF draft, sections Offset Retrieval, Upload Append, Upload Cancellation, Limits."""

from uuid import UUID

import asyncpg
import pytest

from mediastore.catalog.tenants import create_api_key, create_tenant
from tests.ietf_client import WIRES, Answer, IetfClient
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.ietf import (
    IANA,
    VERSIONS,
    client_of,
    content,
    content_of,
    created,
    received_bytes,
)


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, answer.json()["code"]


async def completed(client: IetfClient, data: bytes = b"content") -> tuple[str, Answer]:
    """The URL of a completed upload, and its final response."""
    url = await created(client, data[:3])
    final = await client.append(url, 3, data[3:], complete=True)
    assert final.status == 201, final
    return url, final


# Upload Append


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [0, 2, 5000, 100_000])
async def test_parts_become_the_object(service: Service, version: int | None, size: int) -> None:
    client, data = client_of(service, version), content(size)
    third = size // 3
    url = await created(client, data[:third])
    appended = await client.append(url, third, data[third : 2 * third], complete=False)
    assert appended.status == (201 if version in (3, 4, 5, 6) else 204)
    assert client.wire.says_complete(appended.headers) is False
    assert appended.offset == 2 * third
    final = await client.append(url, 2 * third, data[2 * third :], complete=True)
    assert final.status == 201
    assert client.wire.says_complete(final.headers) is True
    assert await content_of(service, final) == data
    assert f"/v1/uploads/{final.json()['id']}" == url


async def test_an_empty_append_completes(service: Service) -> None:
    client = client_of(service)
    url = await created(client, b"all of it")
    final = await client.append(url, 9, b"", complete=True)
    assert (final.status, final.headers["Upload-Complete"]) == (201, "?1")
    assert await content_of(service, final) == b"all of it"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_wrong_offset_is_refused_and_told_the_right_one(
    service: Service, version: int | None, sql: asyncpg.Connection
) -> None:
    client = client_of(service, version)
    url = await created(client, b"abc")
    epoch = await sql.fetchval("SELECT epoch FROM uploads")
    for wrong in (0, 2, 4, 10**14):
        answer = await client.append(url, wrong, b"def", complete=True)
        assert answer.status == 409
        assert answer.offset == 3
        assert client.wire.says_complete(answer.headers) is False
        document = answer.json()
        assert document["type"] == IANA + "mismatching-upload-offset"
        assert (document["expected-offset"], document["provided-offset"]) == (3, wrong)
    assert await sql.fetchval("SELECT epoch FROM uploads") == epoch
    final = await client.append(url, 3, b"def", complete=True)
    assert await content_of(service, final) == b"abcdef"


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({"Upload_Offset": "-1"}, (400, "bad_length")),
        ({"Upload_Offset": "three"}, (400, "bad_length")),
        ({"Upload_Complete": "1"}, (400, "bad_request")),
        ({"Content_Type": "text/plain"}, (415, "unsupported_media_type")),
        ({"Content_Type": "application/offset+octet-stream"}, (415, "unsupported_media_type")),
        ({"Upload_Draft_Interop_Version": "1"}, (400, "unsupported_interop_version")),
        ({"Authorization": "Bearer no"}, (401, "unauthorized")),
        ({"Upload_Length": "5"}, (400, "inconsistent_upload_length")),
        ({"Upload_Length": "2"}, (400, "inconsistent_upload_length")),
    ],
)
async def test_refused_appends_change_nothing(
    service: Service, headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    client = client_of(service)
    url = await created(client, b"abc")
    answer = await client.append(url, 3, b"def", complete=True, **headers)
    assert problem(answer) == refusal
    assert answer.headers["Upload-Complete"] == "?0"
    final = await client.append(url, 3, b"def", complete=True)
    assert await content_of(service, final) == b"abcdef"


@pytest.mark.parametrize("version", [3, 5])
async def test_old_versions_need_no_content_type(service: Service, version: int) -> None:
    client = client_of(service, version)
    url = await created(client, b"abc")
    final = await client.append(url, 3, b"def", complete=True, Content_Type="image/jpeg")
    assert await content_of(service, final) == b"abcdef"


async def test_version_3_completes_in_silence(service: Service) -> None:
    client = client_of(service, 3)
    url = await created(client, b"abc")
    final = await client.request("PATCH", url, {"Upload-Offset": "3"}, b"def")
    assert final.status == 201
    assert await content_of(service, final) == b"abcdef"


async def test_a_length_told_late_is_recorded(service: Service) -> None:
    client = client_of(service)
    url = await created(client, b"abc")
    await client.append(url, 3, b"d", complete=False, Upload_Length="6")
    assert (await client.offset(url)).headers["Upload-Length"] == "6"
    wrong = await client.append(url, 4, b"", complete=False, Upload_Length="7")
    assert problem(wrong) == (400, "inconsistent_upload_length")
    assert wrong.json()["type"] == IANA + "inconsistent-upload-length"
    assert problem(await client.append(url, 4, b"e", complete=True)) == problem(wrong)
    final = await client.append(url, 4, b"ef", complete=True, Upload_Length="6")
    assert await content_of(service, final) == b"abcdef"


async def test_a_refused_digest_field_records_no_length(service: Service) -> None:
    client = client_of(service)
    url = await created(client, b"abc")
    refused = await client.append(url, 3, b"def", complete=True, Content_Digest="sha-256=no")
    assert problem(refused) == (400, "bad_checksum")
    assert "Upload-Length" not in (await client.offset(url)).headers
    final = await client.append(url, 3, b"defgh", complete=True)
    assert await content_of(service, final) == b"abcdefgh"


async def test_the_length_of_an_append_that_broke_off_is_recorded(
    service: Service,
) -> None:
    client, data = client_of(service), content(50_000)
    url = await created(client)
    connection = await client.connect()
    headers = {**client.headers, **client.append_headers(0, complete=True)}
    await connection.send(
        "PATCH", url, {**headers, "Content-Length": "50000"}, data, stop_at=20_000
    )
    await until(lambda: received_bytes(service) >= 20_000)
    await connection.close()
    standing = await client.offset(url)
    assert standing.headers["Upload-Length"] == "50000"
    assert standing.headers["Upload-Complete"] == "?0"
    final = await client.append(url, standing.offset, data[standing.offset :], complete=True)
    assert await content_of(service, final) == data


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
async def test_content_past_the_length_ends_the_upload(
    service: Service, complete: bool, chunked: bool, sql: asyncpg.Connection
) -> None:
    """However the length of the content is told."""
    client = client_of(service)
    url = await created(client, b"abc", Upload_Length="6")
    connection = await client.connect()
    headers = {**client.headers, **client.append_headers(3, complete=complete)}
    if chunked:
        await connection.send("PATCH", url, {**headers, "Transfer-Encoding": "chunked"})
        connection.writer.write(b"4\r\ndefg\r\n0\r\n\r\n")
    else:
        await connection.send("PATCH", url, {**headers, "Content-Length": "4"}, b"defg")
    assert problem(await connection.receive()) == (400, "inconsistent_upload_length")
    await connection.close()
    assert (await client.offset(url)).status == 404
    assert problem(await client.append(url, 3, b"def", complete=True)) == (404, "not_found")
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0


async def test_last_content_that_stops_short_completes_nothing(service: Service) -> None:
    client = client_of(service)
    url = await created(client, b"abc", Upload_Length="6")
    connection = await client.connect()
    headers = {**client.headers, **client.append_headers(3, complete=True)}
    await connection.send("PATCH", url, {**headers, "Transfer-Encoding": "chunked"})
    connection.writer.write(b"2\r\nde\r\n0\r\n\r\n")
    answer = await connection.receive()
    await connection.close()
    assert problem(answer) == (400, "inconsistent_upload_length")
    assert (answer.offset, answer.headers["Upload-Complete"]) == (5, "?0")
    final = await client.append(url, 5, b"f", complete=True)
    assert await content_of(service, final) == b"abcdef"


# A completed upload


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_last_append_again(service: Service, version: int | None) -> None:
    client = client_of(service, version)
    url, final = await completed(client)
    again = await client.append(url, 7, b"", complete=True)
    assert (again.status, again.json()) == (final.status, final.json())
    assert client.wire.says_complete(again.headers) is True


@pytest.mark.parametrize("version", [3, 6, 8])
async def test_nothing_is_appended_to_a_completed_upload(service: Service, version: int) -> None:
    client = client_of(service, version)
    url, final = await completed(client)
    more = await client.append(url, 7, b"more", complete=True)
    assert problem(more) == (400, "inconsistent_upload_length")
    wrong = await client.append(url, 3, b"tent", complete=True)
    assert problem(wrong) == (409, "mismatching_upload_offset")
    assert wrong.offset == 7
    assert client.wire.says_complete(wrong.headers) is False
    assert await content_of(service, final) == b"content"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_completed_upload_says_so(service: Service, version: int | None) -> None:
    client = client_of(service, version)
    url, _ = await completed(client)
    standing = await client.offset(url)
    assert (standing.status, standing.offset) == (204, 7)
    assert client.wire.says_complete(standing.headers) is True
    assert standing.headers["Upload-Length"] == "7"


async def test_a_deleted_object_is_gone(service: Service, sql: asyncpg.Connection) -> None:
    client = client_of(service)
    url, _ = await completed(client)
    await sql.execute("UPDATE objects SET deleted_at = now(), purge_at = now()")
    assert (await client.offset(url)).status == 410
    assert problem(await client.append(url, 7, b"", complete=True)) == (410, "gone")


# Offset Retrieval


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_offset(service: Service, version: int | None, method: str) -> None:
    client = client_of(service, version)
    url = await created(client, b"abc", Upload_Length="6")
    standing = await client.offset(url, method)
    assert standing.status == 204
    assert standing.offset == 3
    assert client.wire.says_complete(standing.headers) is False
    assert standing.headers["Upload-Length"] == "6"
    assert standing.headers["Cache-Control"] == "no-store"
    assert ("Upload-Limit" in standing.headers) == (version not in (3, 4, 5))
    assert standing.body == b""


@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_what_old_versions_must_refuse(
    service: Service, version: int | None, method: str
) -> None:
    client = client_of(service, version)
    url = await created(client, b"abc")
    for extra in ({"Upload-Offset": "3"}, client.wire.flag(True)):
        if version in (3, 4, 5, 6):
            assert (await client.request(method, url, extra)).status == 400
    if version in (7, 8, None):
        assert (await client.request(method, url, {"Upload-Offset": "3"})).status == 204


async def test_there_is_nothing_here(service: Service) -> None:
    client = client_of(service)
    for url in ("/v1/uploads/nonsense", f"/v1/uploads/{UUID(int=7)}"):
        assert (await client.offset(url)).status == 404
        assert (await client.cancel(url)).status == 404
        assert problem(await client.append(url, 0, b"", complete=True)) == (404, "not_found")


async def test_another_tenant_sees_nothing(service: Service) -> None:
    client = client_of(service)
    url = await created(client, b"abc")
    await create_tenant(service.catalog, "other")
    key = await create_api_key(service.catalog, "other", name="x")
    other = IetfClient(client.host, client.port, key, WIRES[8])
    assert (await other.offset(url)).status == 404
    assert (await other.cancel(url)).status == 404
    assert (await other.append(url, 3, b"", complete=True)).status == 404
    assert (await client.offset(url)).offset == 3


# Upload Cancellation


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_cancelled_upload_is_gone(
    service: Service, version: int | None, sql: asyncpg.Connection
) -> None:
    client = client_of(service, version)
    url = await created(client, content(30_000))
    assert (await client.cancel(url)).status == 204
    assert (await client.offset(url)).status == 404
    assert (await client.append(url, 30_000, b"", complete=True)).status == 404
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0


async def test_a_completed_upload_is_not_cancelled(service: Service) -> None:
    client = client_of(service)
    url, _ = await completed(client)
    assert problem(await client.cancel(url)) == (409, "conflict")


# Limits


async def test_options_tell_the_limits(start: Starter) -> None:
    service = await start(
        uploads={
            "size_max_bytes": 5000,
            "append_size_min_bytes": 2,
            "append_size_max_bytes": 1000,
            "resumable_size_min_bytes": 3,
            "expires_seconds": 3600,
        }
    )
    client = client_of(service, None)
    for path in ("/v1/uploads", "/v1/objects", f"/v1/uploads/{UUID(int=7)}"):
        answer = await client.request("OPTIONS", path, {})
        assert answer.status == 204
        assert answer.headers["Upload-Limit"] == (
            "max-size=5000, min-size=3, max-append-size=1000, min-append-size=2, max-age=3600"
        )
    answer = await client.request("OPTIONS", "/v1/uploads", {})
    assert "application/partial-upload" in answer.headers["Accept-Patch"]
    assert answer.headers["Tus-Version"] == "1.0.0"


@pytest.mark.parametrize(("version", "key"), [(6, "expires"), (7, "max-age"), (8, "max-age")])
async def test_an_upload_tells_how_long_it_lives(
    start: Starter, version: int, key: str, sql: asyncpg.Connection
) -> None:
    service = await start(uploads={"expires_seconds": 3600})
    client = client_of(service, version)
    url = await created(client, b"abc")
    await sql.execute("UPDATE uploads SET expires_at = catalog_clock() + interval '100 s'")
    told = dict(
        pair.split("=") for pair in (await client.offset(url)).headers["Upload-Limit"].split(", ")
    )
    assert 0 < int(told[key]) <= 100


async def test_what_one_request_may_bring(start: Starter) -> None:
    service = await start(uploads={"append_size_min_bytes": 10, "append_size_max_bytes": 1000})
    client = client_of(service)
    limit = "max-append-size=1000, min-append-size=10"
    small = await client.create(b"x" * 9, complete=False)
    assert problem(small) == (400, "append_too_small")
    assert limit in small.headers["Upload-Limit"]
    large = await client.create(b"x" * 1001, complete=True)
    assert problem(large) == (413, "too_large")
    assert limit in large.headers["Upload-Limit"]
    url = await created(client)  # without content the least size does not apply
    assert (await client.append(url, 0, b"x" * 9, complete=False)).status == 400
    too_much = await client.append(url, 0, b"x" * 1001, complete=False)
    assert problem(too_much) == (413, "too_large")
    assert limit in too_much.headers["Upload-Limit"]
    assert (await client.append(url, 0, b"x" * 1000, complete=False)).status == 204
    assert (await client.append(url, 1000, b"", complete=False)).status == 400
    assert (await client.append(url, 1000, b"last", complete=True)).status == 201


async def test_chunked_content_is_limited_when_it_comes(start: Starter) -> None:
    service = await start(uploads={"append_size_max_bytes": 1000})
    client = client_of(service)
    url = await created(client)
    connection = await client.connect()
    headers = {**client.headers, **client.append_headers(0, complete=False)}
    await connection.send("PATCH", url, {**headers, "Transfer-Encoding": "chunked"})
    connection.writer.write(b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n")
    answer = await connection.receive()
    await connection.close()
    assert problem(answer) == (413, "too_large")
    assert "max-append-size=1000" in answer.headers["Upload-Limit"]
    assert (await client.offset(url)).offset == 0


@pytest.mark.parametrize("create", [True, False])
async def test_chunked_content_is_never_too_small(start: Starter, create: bool) -> None:
    """Its size is known when it has been taken in: refusing it then would spare nothing, and what
    was received must not be sent again.
    """
    service = await start(uploads={"append_size_min_bytes": 10})
    client = client_of(service)
    url = "/v1/uploads" if create else await created(client)
    said = client.wire.flag(False) if create else client.append_headers(0, complete=False)
    connection = await client.connect()
    chunked = {**client.headers, **said, "Transfer-Encoding": "chunked"}
    await connection.send("POST" if create else "PATCH", url, chunked, b"3\r\nabc\r\n0\r\n\r\n")
    answer = await connection.receive()
    await connection.close()
    assert (answer.status, answer.offset) == (201 if create else 204, 3)
    url = answer.headers.get("Location", url)
    assert problem(await client.append(url, 3, b"def", complete=False)) == (400, "append_too_small")
    final = await client.append(url, 3, b"def", complete=True)
    assert await content_of(service, final) == b"abcdef"


async def test_an_upload_does_not_grow_past_the_largest_size(start: Starter) -> None:
    service = await start(uploads={"size_max_bytes": 1000})
    client = client_of(service)
    url = await created(client, b"x" * 900)
    answer = await client.append(url, 900, b"x" * 101, complete=True)
    assert problem(answer) == (413, "too_large")
    assert answer.headers["Upload-Limit"].startswith("max-size=1000")
    assert (await client.append(url, 900, b"x" * 100, complete=True)).status == 201
