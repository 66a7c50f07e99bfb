"""Interim responses: 104 and 100, on raw connections, beside aiohttp's own writing and parsing."""

import asyncpg
import pytest

from mediastore.uploads.ietf import notices
from tests.ietf_client import Answer, Connection, IetfClient, Interim
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.ietf import (
    client_of,
    content,
    content_of,
    created,
    created_uploads,
    received_bytes,
)

VERSION = "Upload-Draft-Interop-Version"


async def send_head(
    client: IetfClient, method: str, path: str, headers: dict[str, str]
) -> Connection:
    connection = await client.connect()
    await connection.send(method, path, {**client.headers, **headers})
    return connection


def creation(client: IetfClient, size: int, *, complete: bool = True) -> dict[str, str]:
    return {**client.wire.flag(complete), "Content-Length": str(size)}


@pytest.mark.parametrize("version", [3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/objects"])
async def test_a_104_names_the_upload_before_its_content_has_come(
    service: Service, version: int, path: str
) -> None:
    client = client_of(service, version)
    connection = await send_head(client, "POST", path, creation(client, 3))
    interim = await connection.receive_interim()
    assert interim.status == 104
    assert interim.headers[VERSION] == str(version)
    url = interim.headers["Location"]
    assert ("Upload-Limit" in interim.headers) == (version >= 6)
    connection.writer.write(b"abc")
    final = await connection.receive()
    assert final.status == 201
    assert final.interim == []
    assert url == f"/v1/uploads/{final.json()['id']}"
    assert await content_of(service, final) == b"abc"
    await connection.close()


async def test_all_answers_of_one_creation_name_the_same_location(service: Service) -> None:
    answer = await client_of(service).create(b"abc", complete=False)
    assert [i.headers["Location"] for i in answer.interim] == [answer.headers["Location"]]


@pytest.mark.parametrize(
    ("setting", "version", "comes", "numbered"),
    [
        ("matching", 8, True, True),
        ("matching", None, False, False),
        ("on", 8, True, True),
        ("on", None, True, False),
        ("off", 8, False, False),
        ("off", None, False, False),
    ],
)
async def test_who_gets_a_104(
    start: Starter, setting: str, version: int | None, comes: bool, numbered: bool
) -> None:
    service = await start(uploads={"interim_responses": setting})
    answer = await client_of(service, version).create(b"abc", complete=True)
    assert answer.status == 201
    assert [i.status for i in answer.interim] == ([104] if comes else [])
    assert all((VERSION in i.headers) == numbered for i in answer.interim)


async def test_version_3_without_its_number_gets_none(service: Service) -> None:
    client = client_of(service, None)
    answer = await client.request("POST", "/v1/uploads", {"Upload-Incomplete": "?0"}, b"abc")
    assert (answer.status, answer.interim) == (201, [])


async def test_no_content_no_104(service: Service) -> None:
    client = client_of(service)
    assert (await client.create(b"", complete=True)).interim == []
    assert (await client.create(b"", complete=False)).interim == []


async def test_http_1_0_has_no_interim_responses(service: Service) -> None:
    """What nginx speaks to its upstreams unless it is told otherwise."""
    client = client_of(service)
    connection = await client.connect()
    lines = {**client.headers, **creation(client, 3), "Expect": "100-continue"}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.writer.write(f"POST /v1/uploads HTTP/1.0\r\n{head}\r\n".encode() + b"abc")
    answer = await connection.receive()
    assert (answer.status, answer.interim) == (201, [])
    await connection.close()


async def test_an_append_is_told_what_is_stored(start: Starter) -> None:
    service = await start(uploads={"batch_max_bytes": 65_536, "interim_interval_seconds": 0})
    client, data = client_of(service), content(300_000)
    url = await created(client)
    headers = {**client.append_headers(0, complete=False), "Content-Length": "300000"}
    connection = await send_head(client, "PATCH", url, headers)
    connection.writer.write(data[:200_000])
    told = await connection.receive_interim()
    assert told.status == 104
    assert told.headers[VERSION] == "8"
    assert "Location" not in told.headers
    assert 65_536 <= int(told.headers["Upload-Offset"]) <= 200_000
    connection.writer.write(data[200_000:])
    answer = await connection.receive()
    await connection.close()
    offsets = [int(i.headers["Upload-Offset"]) for i in [told, *answer.interim]]
    assert offsets == sorted(set(offsets))
    assert (answer.status, answer.offset) == (204, 300_000)


async def test_what_a_104_told_survives_the_connection(start: Starter) -> None:
    """INV-1: an offset that was told is stored, also by an interim response."""
    service = await start(uploads={"batch_max_bytes": 65_536, "interim_interval_seconds": 0})
    client, data = client_of(service), content(200_000)
    connection = await send_head(client, "POST", "/v1/uploads", creation(client, 200_000))
    url = (await connection.receive_interim()).headers["Location"]
    connection.writer.write(data[:150_000])
    told = int((await connection.receive_interim()).headers["Upload-Offset"])
    await connection.abort()
    standing = await client.offset(url)
    assert told <= standing.offset <= 150_000
    final = await client.append(url, standing.offset, data[standing.offset :], complete=True)
    assert await content_of(service, final) == data


@pytest.mark.parametrize(("version", "tells"), [(3, False), (4, False), (5, True), (7, True)])
async def test_which_versions_are_told_of_progress(
    start: Starter, version: int, tells: bool
) -> None:
    service = await start(uploads={"batch_max_bytes": 65_536, "interim_interval_seconds": 0})
    client = client_of(service, version)
    answer = await client.create(content(200_000), complete=True)
    progress = [i for i in answer.interim if "Upload-Offset" in i.headers]
    assert bool(progress) is tells
    assert sum("Location" in i.headers for i in answer.interim) == 1


async def test_progress_is_paced(start: Starter) -> None:
    service = await start(uploads={"batch_max_bytes": 65_536, "interim_interval_seconds": 3600})
    answer = await client_of(service).create(content(300_000), complete=True)
    assert ["Location" in i.headers for i in answer.interim] == [True]


async def test_a_connection_goes_on_after_interim_responses(start: Starter) -> None:
    """Server and parser stay in step: creation, HEAD, append, a plain request, and again."""
    service = await start(uploads={"batch_max_bytes": 65_536, "interim_interval_seconds": 0})
    client, data = client_of(service), content(200_000)
    connection = await client.connect()
    for round_ in range(3):
        head = {**client.headers, **creation(client, 100_000, complete=False)}
        await connection.send("POST", "/v1/uploads", head, data[:100_000])
        first = await connection.receive()
        assert (first.status, first.offset) == (201, 100_000), round_
        url = first.headers["Location"]
        await connection.send("HEAD", url, client.headers)
        assert (await connection.receive(head=True)).offset == 100_000
        head = {**client.headers, **client.append_headers(100_000, complete=True)}
        await connection.send("PATCH", url, {**head, "Content-Length": "100000"}, data[100_000:])
        final = await connection.receive()
        assert final.status == 201
        assert await content_of(service, final) == data
        await connection.send("OPTIONS", "/v1/uploads", client.headers)
        assert (await connection.receive()).status == 204
    await connection.close()


async def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    client = client_of(service)
    connection = await client.connect()
    for number in range(5):
        body = b"%d" % number
        await connection.send(
            "POST", "/v1/uploads", {**client.headers, **creation(client, 1)}, body
        )
    for number in range(5):
        answer = await connection.receive()
        assert [i.status for i in answer.interim] == [104]
        assert await content_of(service, answer) == b"%d" % number
    await connection.close()


async def test_a_client_that_reads_nothing_gets_no_queue_of_104s(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress waits until what was sent before has left."""
    service = await start(uploads={"batch_max_bytes": 65_536, "interim_interval_seconds": 0})
    monkeypatch.setattr(notices, "earlier_has_left", lambda _request: False)
    answer = await client_of(service).create(content(200_000), complete=True)
    assert ["Location" in i.headers for i in answer.interim] == [True]


# Expect: 100-continue


def expecting(size: int) -> dict[str, str]:
    return {"Expect": "100-continue", "Content-Length": str(size)}


async def answered(connection: Connection, body: bytes) -> tuple[list[Interim], Answer]:
    """Send the body only once 100 has come."""
    interim = [await connection.receive_interim()]
    while interim[-1].status != 100:
        interim.append(await connection.receive_interim())
    connection.writer.write(body)
    answer = await connection.receive()
    await connection.close()
    return interim, answer


TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


@pytest.mark.parametrize(
    ("path", "headers", "statuses"),
    [
        ("/v1/uploads", {"Upload-Complete": "?1"}, [104, 100]),
        ("/v1/uploads", {"Upload-Complete": "?0"}, [104, 100]),
        ("/v1/objects", {"Upload-Complete": "?1"}, [104, 100]),
        ("/v1/objects", {}, [100]),
        ("/v1/uploads", {**TUS, "Upload-Length": "3"}, [100]),
    ],
)
async def test_100_comes_after_the_checks(
    service: Service, path: str, headers: dict[str, str], statuses: list[int]
) -> None:
    """A 104 does not stand for it (section Status Code 104)."""
    client = client_of(service)
    connection = await send_head(client, "POST", path, {**headers, **expecting(3)})
    interim, answer = await answered(connection, b"abc")
    assert [i.status for i in interim] == statuses
    assert answer.status == 201


async def test_an_append_waits_for_100(service: Service) -> None:
    client = client_of(service)
    url = await created(client, b"abc")
    headers = {**client.append_headers(3, complete=True), **expecting(3)}
    interim, answer = await answered(await send_head(client, "PATCH", url, headers), b"def")
    assert [i.status for i in interim] == [100]
    assert await content_of(service, answer) == b"abcdef"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/uploads", {"Upload-Complete": "?1", "Authorization": "Bearer no"}, 401),
        ("POST", "/v1/uploads", {"Upload-Complete": "?1", "Upload-Length": "9"}, 400),
        ("POST", "/v1/objects", {"Upload-Complete": "?1", "Content-Length": "9" * 15}, 413),
        ("POST", "/v1/objects", {"Content-Length": "9" * 15}, 413),
        ("POST", "/v1/uploads", {**TUS, "Upload-Length": "2"}, 413),
        ("PATCH", "{url}", {"Upload-Offset": "2"}, 409),
        ("PATCH", "{url}", {**TUS, "Upload-Offset": "2"}, 409),
    ],
)
async def test_who_is_refused_gets_no_100_and_no_next_request(
    service: Service, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    client = client_of(service)
    url = await created(client, b"abc")
    defaults = client.append_headers(3, complete=True) if method == "PATCH" else {}
    connection = await send_head(
        client, method, path.format(url=url), {**defaults, **expecting(3), **headers}
    )
    answer = await connection.receive()
    assert (answer.status, answer.interim) == (status, [])
    assert answer.headers["Connection"] == "close"
    await connection.close()


async def test_other_expectations_cannot_be_met(service: Service) -> None:
    client = client_of(service)
    headers = {**creation(client, 3), "Expect": "miracles"}
    connection = await client.connect()
    await connection.send("POST", "/v1/uploads", {**client.headers, **headers}, b"abc")
    answer = await connection.receive()
    assert (answer.status, answer.interim) == (417, [])
    await connection.close()


# A connection that breaks


@pytest.mark.parametrize("complete", [True, False])
async def test_what_came_is_kept_when_the_client_knows_the_url(
    service: Service, complete: bool
) -> None:
    client, data = client_of(service), content(100_000)
    connection = await send_head(
        client, "POST", "/v1/objects", creation(client, 100_000, complete=complete)
    )
    url = (await connection.receive_interim()).headers["Location"]
    connection.writer.write(data[:60_000])
    await until(lambda: received_bytes(service) >= 60_000)
    await connection.close()
    standing = await client.offset(url)
    assert standing.offset == 60_000
    assert standing.headers["Upload-Complete"] == "?0"
    final = await client.append(url, 60_000, data[60_000:], complete=True)
    assert await content_of(service, final) == data


async def test_a_break_is_not_the_end_of_content_whose_length_is_not_known(
    service: Service,
) -> None:
    client, data = client_of(service), content(100_000)
    headers = {"Upload-Complete": "?1", "Transfer-Encoding": "chunked"}
    connection = await send_head(client, "POST", "/v1/objects", headers)
    url = (await connection.receive_interim()).headers["Location"]
    connection.writer.write(b"%x\r\n%b\r\n" % (60_000, data[:60_000]))
    await until(lambda: received_bytes(service) >= 60_000)
    await connection.close()
    standing = await client.offset(url)
    assert (standing.offset, standing.headers["Upload-Complete"]) == (60_000, "?0")
    final = await client.append(url, 60_000, data[60_000:], complete=True)
    assert await content_of(service, final) == data


@pytest.mark.parametrize("complete", [True, False])
async def test_nothing_is_kept_that_nobody_can_resume(
    start: Starter, complete: bool, sql: asyncpg.Connection
) -> None:
    """Without a 104 the client knows no URL."""
    service = await start(uploads={"batch_max_bytes": 65_536})
    client = client_of(service, None)
    connection = await send_head(
        client, "POST", "/v1/objects", creation(client, 500_000, complete=complete)
    )
    connection.writer.write(content(300_000))
    await until(lambda: created_uploads(service) == 1)
    await connection.abort()
    await until(lambda: service.memory.in_use_bytes == 0)
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0
