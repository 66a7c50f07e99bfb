"""IETF draft, section Upload Creation: what a client sees, against real Postgres."""

from gzip import compress
from typing import Any

import asyncpg
import pytest
from blake3 import blake3

from tests.ietf_client import Answer
from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.ietf import IANA, VERSIONS, client_of, content, content_of, created

TARGETS = ["/v1/uploads", "/v1/objects"]


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, answer.json()["code"]


@pytest.mark.parametrize("path", TARGETS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [0, 1, 5000, 100_000])
async def test_all_content_in_one_request_is_answered_by_the_target(
    service: Service, version: int | None, path: str, size: int
) -> None:
    client, data = client_of(service, version), content(size)
    answer = await client.create(data, complete=True, path=path, Content_Type="image/jpeg")
    assert answer.status == 201
    assert client.wire.says_complete(answer.headers) is True
    document = answer.json()
    assert document["blob"] == blake3(data).hexdigest()
    assert (document["size"], document["content_type"]) == (size, "image/jpeg")
    assert await content_of(service, answer) == data


@pytest.mark.parametrize(
    ("version", "location", "offset"),
    [
        (3, "uploads", "7"),
        (5, "uploads", "7"),
        (6, "uploads", "7"),
        (7, "objects", None),
        (8, "objects", None),
        (None, "objects", None),
    ],
)
async def test_where_a_final_response_points(
    service: Service, version: int | None, location: str, offset: str | None
) -> None:
    answer = await client_of(service, version).create(b"content", complete=True)
    id_ = answer.json()["id"]
    assert answer.headers["Location"] == f"/v1/{location}/{id_}"
    assert answer.headers.get("Upload-Offset") == offset
    if location == "uploads":
        assert answer.headers["Content-Location"] == f"/v1/objects/{id_}"


@pytest.mark.parametrize("path", TARGETS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [0, 1, 20_000])
async def test_a_part_of_the_content_creates_an_upload(
    service: Service, version: int | None, path: str, size: int
) -> None:
    client = client_of(service, version)
    answer = await client.create(content(size), complete=False, path=path)
    assert answer.status == 201
    assert answer.headers["Location"].startswith("/v1/uploads/")
    assert client.wire.says_complete(answer.headers) is False
    assert answer.offset == size
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("Upload-Limit" in answer.headers) == (version not in (3, 4, 5))
    standing = await client.offset(answer.headers["Location"])
    assert standing.offset == size


async def test_the_length_is_recorded_however_it_is_told(service: Service) -> None:
    client = client_of(service)
    url = await created(client, b"abc", Upload_Length="10")
    assert (await client.offset(url)).headers["Upload-Length"] == "10"
    without = await created(client, b"abc")
    assert "Upload-Length" not in (await client.offset(without)).headers


async def test_reaching_the_length_completes_nothing(service: Service) -> None:
    client = client_of(service)
    url = await created(client, b"abc", Upload_Length="3")
    for _ in range(2):
        standing = await client.offset(url)
        assert (standing.offset, standing.headers["Upload-Complete"]) == (3, "?0")
    final = await client.append(url, 3, b"", complete=True)
    assert (final.status, final.headers["Upload-Complete"]) == (201, "?1")
    assert await content_of(service, final) == b"abc"


@pytest.mark.parametrize(
    ("complete", "headers", "refusal"),
    [
        (True, {"Upload_Length": "8"}, (400, "inconsistent_upload_length")),
        (True, {"Upload_Length": "6"}, (400, "inconsistent_upload_length")),
        (False, {"Upload_Length": "6"}, (400, "inconsistent_upload_length")),
        (False, {"Upload_Length": "9" * 15}, (413, "too_large")),
        (True, {"Authorization": "Bearer no"}, (401, "unauthorized")),
        (True, {"Content_Type": "no type"}, (400, "bad_metadata")),
        (True, {"Content_Disposition": 'inline; filename="a'}, (400, "bad_metadata")),
        (True, {"Content_Disposition": "inline; filename*=UTF-8''%07"}, (400, "bad_request")),
        (True, {"Idempotency_Key": "k"}, (400, "bad_request")),
        (
            False,
            {"Content_Type": "multipart/form-data; boundary=x"},
            (415, "unsupported_media_type"),
        ),
        (True, {"Upload_Draft_Interop_Version": "9"}, (400, "unsupported_interop_version")),
        (True, {"Upload_Draft_Interop_Version": "2"}, (400, "unsupported_interop_version")),
        (True, {"Upload_Complete": "yes"}, (400, "bad_request")),
        (True, {"Upload_Complete": "1"}, (400, "bad_request")),
    ],
)
async def test_refusals(
    service: Service,
    sql: asyncpg.Connection,
    complete: bool,
    headers: dict[str, str],
    refusal: tuple[int, str],
) -> None:
    answer = await client_of(service).create(b"content", complete=complete, **headers)
    assert problem(answer) == refusal
    assert answer.headers["Upload-Complete"] == "?0"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.interim == []
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0


async def test_an_inconsistent_length_is_a_problem_of_its_own_type(service: Service) -> None:
    answer = await client_of(service).create(b"content", complete=True, Upload_Length="8")
    assert answer.json()["type"] == IANA + "inconsistent-upload-length"


async def test_other_versions_learn_which_there_are(service: Service) -> None:
    answer = await client_of(service).create(b"", complete=True, Upload_Draft_Interop_Version="9")
    assert answer.json()["supported"] == [3, 4, 5, 6, 7, 8]


async def test_too_large_content_is_told_the_limits(start: Starter) -> None:
    service = await start(uploads={"size_max_bytes": 100_000})
    client = client_of(service)
    for answer in (
        await client.create(content(100_001), complete=True),
        await client.create(b"", complete=False, Upload_Length="100001"),
        await client.create(b"x", complete=True, Upload_Length="100001"),
    ):
        assert answer.status == 413 or answer.json()["code"] == "inconsistent_upload_length"
        if answer.status == 413:
            assert answer.headers["Upload-Limit"].startswith("max-size=100000")


@pytest.mark.parametrize("version", [None, 8])
async def test_a_body_whose_length_only_its_end_tells(
    service: Service, version: int | None, sql: asyncpg.Connection
) -> None:
    """A declared length binds it all the same."""
    client, data = client_of(service, version), content(30_000)

    async def chunked(length: str | None) -> Answer:
        connection = await client.connect()
        told = {} if length is None else {"Upload-Length": length}
        headers = {**client.headers, "Upload-Complete": "?1", **told}
        await connection.send("POST", "/v1/uploads", {**headers, "Transfer-Encoding": "chunked"})
        connection.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
        answer = await connection.receive()
        await connection.close()
        return answer

    assert await content_of(service, await chunked(None)) == data
    assert (await chunked("30000")).status == 201
    for wrong in ("29999", "30001"):
        assert problem(await chunked(wrong)) == (400, "inconsistent_upload_length")
    # The client that was told the URL may append what is missing; nobody else has an upload.
    left = await sql.fetch('SELECT "offset", length FROM uploads')
    assert [tuple(row) for row in left] == ([(30_000, 30_001)] if version == 8 else [])


async def test_coded_content_is_counted_as_it_is_sent(service: Service) -> None:
    """Section Content Codings: nothing is decoded, lengths are of the coded data."""
    client, coded = client_of(service), compress(b"x" * 10_000)
    url = await created(client, coded[:10], Content_Encoding="gzip", Upload_Length=str(len(coded)))
    assert (await client.offset(url)).offset == 10
    final = await client.append(url, 10, coded[10:], complete=True)
    assert await content_of(service, final) == coded


@pytest.mark.parametrize(
    ("disposition", "query", "name"),
    [
        ('inline; filename="file name.jpg"', "", "file name.jpg"),
        ("inline; filename=\"a.jpg\"; filename*=UTF-8''%E2%98%80.jpg", "", "☀.jpg"),
        ('attachment; filename="a.jpg"', "?name=b.jpg", "b.jpg"),
        ("inline", "", ""),
    ],
)
async def test_the_name_comes_from_content_disposition(
    service: Service, disposition: str, query: str, name: str
) -> None:
    answer = await client_of(service).create(
        b"x", complete=True, path="/v1/uploads" + query, Content_Disposition=disposition
    )
    assert answer.json()["name"] == name


async def test_metadata_given_at_creation_is_the_objects(service: Service) -> None:
    client = client_of(service)
    query = "?name=a&owner=u&metadata=%7B%22k%22:1%7D"
    first = await client.create(
        b"ab", complete=False, path="/v1/uploads" + query, Content_Type="text/plain"
    )
    final = await client.append(first.headers["Location"], 2, b"c", complete=True)
    document = final.json()
    assert (document["name"], document["owner"], document["metadata"]) == ("a", "u", {"k": 1})
    assert document["content_type"] == "text/plain"


async def test_a_declared_blake3_that_is_wrong_ends_the_upload(service: Service) -> None:
    client = client_of(service)
    path = "/v1/uploads?blake3=" + "00" * 32
    url = (await client.create(b"ab", complete=False, path=path)).headers["Location"]
    refused = await client.append(url, 2, b"c", complete=True)
    assert problem(refused) == (400, "bad_digest")
    # The content came whole; what is wrong with it no resumption can mend.
    assert refused.headers["Upload-Complete"] == "?1"
    assert (await client.offset(url)).status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "9"}, 201),
        ({"Upload-Complete": "?0", "Upload-Draft-Interop-Version": "9"}, 400),
        ({"Upload-Incomplete": "?0", "Upload-Draft-Interop-Version": "2"}, 400),
        ({"Upload-Complete": "?1", "Idempotency-Key": "k"}, 201),
        ({"Upload-Complete": "maybe"}, 201),
        ({"Upload-Draft-Interop-Version": "8"}, 201),
    ],
)
async def test_a_plain_upload_stays_one_whatever_ios_adds(
    service: Service, headers: dict[str, str], status: int, sql: asyncpg.Connection
) -> None:
    """Section Upgrading: a resource that will not be resumable ignores Upload-Complete: ?1."""
    answer = await service.client.post(
        "/v1/objects", data=b"content", headers={**service.bearer, **headers}
    )
    assert answer.status == status
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0


async def test_tus_comes_first(service: Service) -> None:
    """iOS marks the upload tasks of tus clients, too."""
    marked: dict[str, Any] = {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "9"}
    answer = await service.client.post(
        "/v1/uploads", headers={**service.tus, **marked, "Upload-Length": "3"}
    )
    assert answer.status == 201
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    patched = await service.client.patch(
        answer.headers["Location"],
        data=b"abc",
        headers={
            **service.tus,
            **marked,
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
        },
    )
    assert (patched.status, patched.headers["Upload-Offset"]) == (204, "3")


async def test_small_content_is_one_transaction_less_when_it_is_not_made_resumable(
    start: Starter,
) -> None:
    service = await start(uploads={"resumable_size_min_bytes": 1000})
    client = client_of(service)
    assert (await client.create(content(999), complete=True)).interim == []
    assert len((await client.create(content(1000), complete=True)).interim) == 1
    assert len((await client.create(content(5), complete=False)).interim) == 1
