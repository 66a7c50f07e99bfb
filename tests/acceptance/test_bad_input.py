"""Whatever a client sends: the right status, a stable code, no traceback, and work goes on."""

from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from tests.acceptance.client import OFFSET_TYPE, TUS, Client
from tests.acceptance.content import content
from tests.acceptance.server import Server

NOBODY = UUID(int=7)
SIZE_MAX = 10_000_000


@pytest.fixture
def client(shared_server: Server) -> Iterator[Client]:
    """A client, and afterwards the proof that the server still does its job."""
    made = shared_server.client()
    yield made
    data = content(50_000, seed=99)
    assert made.content(made.made(data)["id"]) == data


def status_of(answer: bytes) -> int:
    """Of a raw answer; 0 when the server closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def raw_head(client: Client, method: str, path: str, *lines: str) -> bytes:
    fields = [f"Host: {urlsplit(client.url).netloc}", f"Authorization: Bearer {client.key}", *lines]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *fields, "", ""]).encode()


# Uploads


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload-Length": "-1"}, 400, "bad_length"),
        ({"Upload-Length": "1e3"}, 400, "bad_length"),
        ({"Upload-Length": "٣"}, 400, "bad_length"),
        ({"Upload-Length": ""}, 400, "bad_length"),
        ({"Upload-Length": "9" * 40}, 400, "bad_length"),
        ({"Upload-Length": str(SIZE_MAX + 1)}, 413, "too_large"),
        ({"Upload-Length": "1", "Upload-Metadata": "name !!!"}, 400, "bad_metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": ",,,"}, 400, "bad_metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": "name YQ==,name Yg=="}, 400, "bad_metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": "filename /w=="}, 400, "bad_metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": "filename AA=="}, 400, "bad_request"),
        ({"Upload-Length": "1", "Upload-Metadata": "album AA=="}, 400, "bad_metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": "blake3 YWJj"}, 400, "bad_metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": "filetype bm8="}, 400, "bad_metadata"),
        ({"Upload-Length": "1", "Tus-Resumable": "2.0.0"}, 412, "unsupported_tus_version"),
        ({"Upload-Length": "1", "Authorization": "Bearer wrong"}, 401, "unauthorized"),
        ({"Upload-Length": "1", "Authorization": "Basic eDp5"}, 401, "unauthorized"),
        ({"Upload-Length": "1", "Authorization": "Bearer"}, 401, "unauthorized"),
        ({"Upload-Length": "1", "Authorization": "Bearer \xe9\xff"}, 401, "unauthorized"),
    ],
)
def test_bad_creations(client: Client, headers: dict[str, str], status: int, code: str) -> None:
    encoded = {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()}
    answer = client.request("POST", "/v1/uploads", headers={**TUS, **encoded})
    assert (answer.status, answer.code) == (status, code)


def test_large_metadata_is_refused(client: Client) -> None:
    value = b64encode(b"x" * 12_000).decode()
    answer = client.request(
        "POST",
        "/v1/uploads",
        headers={**TUS, "Upload-Length": "1", "Upload-Metadata": f"note {value}"},
    )
    assert (answer.status, answer.code) == (400, "bad_metadata")


@pytest.mark.parametrize(
    ("offset", "status", "code"),
    [
        ("0", 409, "offset_mismatch"),
        ("101", 409, "offset_mismatch"),
        ("-1", 400, "bad_length"),
        ("9" * 40, 400, "bad_length"),
        ("9" * 18, 409, "offset_mismatch"),
        ("1_0", 400, "bad_length"),
        ("", 400, "bad_length"),
    ],
)
def test_wrong_offsets_change_nothing(client: Client, offset: str, status: int, code: str) -> None:
    data = content(1000)
    upload = client.create(1000)
    assert client.patch(upload, 0, data[:100]).status == 204
    answer = client.request(
        "PATCH",
        upload,
        headers={**TUS, **OFFSET_TYPE, "Upload-Offset": offset},
        body=b"x" * 900,
    )
    assert (answer.status, answer.code) == (status, code)
    if status == 409:
        assert answer.offset == 100
    assert client.patch(upload, client.offset(upload), data[100:]).offset == 1000


def test_a_body_past_the_length_is_refused_and_nothing_acknowledged_is_lost(client: Client) -> None:
    data = content(1000)
    upload = client.create(1000)
    client.patch(upload, 0, data[:600])
    answer = client.patch(upload, 600, b"x" * 401)
    assert (answer.status, answer.code) == (413, "too_large")
    chunked = client.patch(upload, 600, iter([b"x" * 300, b"y" * 300]))
    assert (chunked.status, chunked.code) == (413, "too_large")
    assert client.offset(upload) == 600
    assert client.patch(upload, 600, data[600:]).offset == 1000


def test_a_chunked_body_past_the_largest_size_is_refused(client: Client) -> None:
    body = (b"x" * 100_000 for _ in range(SIZE_MAX // 100_000 + 2))
    answer = client.post(body)
    assert (answer.status, answer.code) == (413, "too_large")


def test_a_declared_body_past_the_largest_size_is_refused_before_it_is_sent(client: Client) -> None:
    head = raw_head(client, "POST", "/v1/objects", f"Content-Length: {SIZE_MAX + 1}")
    assert status_of(client.exchange(head)) == 413


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("?metadata={", {}, 400, "bad_metadata"),
        ("?metadata=[]", {}, 400, "bad_metadata"),
        ("?metadata=" + "[" * 5000, {}, 400, "bad_metadata"),
        ("?metadata={%22a%22:%22%5Cu0000%22}", {}, 400, "bad_metadata"),
        ("?metadata={%22a%22:%22%5Cud800%22}", {}, 400, "bad_metadata"),
        ("?metadata={%22a%22:NaN}", {}, 400, "bad_metadata"),
        ("?metadata={%22a%22:1e999}", {}, 400, "bad_metadata"),
        ("?metadata={%22a%22:" + "[" * 900 + "]" * 900 + "}", {}, 400, "bad_metadata"),
        ("?name=%00", {}, 400, "bad_request"),
        ("?name=" + "x" * 2000, {}, 400, "bad_request"),
        ("?owner=" + "x" * 300, {}, 400, "bad_request"),
        ("?nmae=x", {}, 400, "bad_request"),
        ("?blake3=zz", {}, 400, "bad_metadata"),
        ("?blake3=" + "0" * 64, {}, 400, "bad_digest"),
        ("", {"Content-Type": "nonsense"}, 400, "bad_metadata"),
        ("", {"Idempotency-Key": ""}, 400, "bad_request"),
        ("", {"Idempotency-Key": "x" * 256}, 400, "bad_request"),
    ],
)
def test_bad_one_request_uploads(
    client: Client, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = client.request("POST", f"/v1/objects{query}", headers=headers, body=b"data")
    assert (answer.status, answer.code) == (status, code)


# What is not there


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v1/objects/{NOBODY}"),
        ("GET", f"/v1/objects/{NOBODY}/content"),
        ("DELETE", f"/v1/objects/{NOBODY}"),
        ("POST", f"/v1/objects/{NOBODY}/restore"),
        ("GET", "/v1/objects/nonsense"),
        ("GET", "/v1/objects/%00"),
        ("GET", "/v1/objects/nonsense/content"),
        ("GET", "/v1/objects/%FF/content"),
        ("GET", f"/media/acme/{'0' * 64}/x"),
        ("GET", f"/media/%00/{'0' * 64}/x"),
        ("GET", f"/media/%FF/{'0' * 64}/x"),
        ("GET", f"/media/nobody/{'0' * 64}/x"),
        ("GET", "/media/acme/nonsense/x"),
        ("GET", f"/media/acme/{'0' * 63}%00/x"),
        ("GET", "/media/acme/../../etc/passwd"),
        ("GET", "/nothing"),
        ("GET", "//"),
    ],
)
def test_what_is_not_there(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("id_", ["nonsense", str(NOBODY), "%00", "x" * 3000])
def test_uploads_that_are_not_there(client: Client, id_: str) -> None:
    assert client.head(f"/v1/uploads/{id_}").status == 404
    answer = client.patch(f"/v1/uploads/{id_}", 0, b"x")
    assert (answer.status, answer.code) == (404, "not_found")
    assert client.request("DELETE", f"/v1/uploads/{id_}", headers=TUS).code == "not_found"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/objects"),
        ("DELETE", "/v1/objects"),
        ("POST", "/readyz"),
        ("PROPFIND", "/v1/objects"),
    ],
)
def test_methods_that_a_url_does_not_take(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?limit=0", "bad_request"),
        ("?limit=-1", "bad_request"),
        ("?limit=1001", "bad_request"),
        ("?limit=9999999999999999999999", "bad_request"),
        ("?limit=%D9%A3", "bad_request"),
        ("?cursor=nonsense", "bad_cursor"),
        ("?cursor=" + "A" * 32, "bad_cursor"),
        ("?cursor=%00", "bad_cursor"),
        ("?owner=%00", "bad_request"),
        ("?trash=maybe", "bad_request"),
        ("?unknown=1", "bad_request"),
    ],
)
def test_bad_listings(client: Client, query: str, code: str) -> None:
    answer = client.get(f"/v1/objects{query}")
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    ("body", "type_", "status", "code"),
    [
        (b"{", "application/json", 400, "bad_request"),
        (b"[" * 100_000, "application/json", 413, "too_large"),
        (b"[" * 20_000, "application/json", 400, "bad_request"),
        (b"[]", "application/json", 400, "bad_request"),
        (b"\xff", "application/json", 400, "bad_request"),
        (b'{"id": 1}', "application/json", 400, "bad_request"),
        (b'{"name": 1}', "application/json", 400, "bad_request"),
        (b'{"name": "\\ud800"}', "application/json", 400, "bad_request"),
        (b'{"metadata": {"a": "\\u0000"}}', "application/json", 400, "bad_metadata"),
        (b'{"metadata": {"a": 1e999}}', "application/json", 400, "bad_metadata"),
        (b'{"metadata": {"a": NaN}}', "application/json", 400, "bad_metadata"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
    ],
)
def test_bad_changes(client: Client, body: bytes, type_: str, status: int, code: str) -> None:
    made = client.made(b"x")
    answer = client.request(
        "PATCH", f"/v1/objects/{made['id']}", headers={"Content-Type": type_}, body=body
    )
    assert (answer.status, answer.code) == (status, code)


# Ranges


@pytest.mark.parametrize(
    "range_", ["bytes=100-", "bytes=-0", "bytes=999999999999999999999-", "bytes=100-200"]
)
def test_ranges_outside_of_the_content(client: Client, range_: str) -> None:
    made = client.made(content(100))
    answer = client.get(f"/v1/objects/{made['id']}/content", Range=range_)
    assert (answer.status, answer.code) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */100"


@pytest.mark.parametrize(
    "range_", ["bytes=9-1", "bytes=a-b", "items=0-1", "bytes", "bytes=", "bytes=--1", "bytes=1-2-3"]
)
def test_ranges_that_are_none_are_ignored(client: Client, range_: str) -> None:
    """RFC 9110, 14.2: an invalid or unknown range is ignored."""
    made = client.made(content(100))
    answer = client.get(f"/v1/objects/{made['id']}/content", Range=range_)
    assert (answer.status, answer.body) == (200, content(100))


@pytest.mark.parametrize(
    ("range_", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=99-", 99, 100),
        ("bytes=-1", 99, 100),
        ("bytes=-500", 0, 100),
        ("bytes=0-999999999999999999999", 0, 100),
        ("bytes= 5-9 ", 5, 10),
    ],
)
def test_ranges_at_the_edges(client: Client, range_: str, start: int, end: int) -> None:
    made = client.made(content(100))
    answer = client.get(f"/v1/objects/{made['id']}/content", Range=range_)
    assert (answer.status, answer.body) == (206, content(100)[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/100"


# HTTP itself


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS to a plain port
        b"GET\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad\x00Name: x\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
    ids=lambda request: repr(request[:60]),
)
def test_garbage_requests(client: Client, request_: bytes) -> None:
    answer = client.exchange(request_)
    told = {400: b'"malformed_request"', 431: b'"header_too_large"'}
    assert told[status_of(answer)] in answer
    assert b"aiohttp" not in answer


def test_what_is_not_http_leaves_one_line_in_the_log(server: Server) -> None:
    secret = b"secret-of-a-client"
    server.client().exchange(b"GET /" + secret + b" HTTP/1.1\r\nHost " + secret + b"\r\n\r\n")
    told = server.until(
        lambda: [event for event in server.events() if event["event"] == "request_malformed"], bool
    )
    assert [(event["level"], event["code"]) for event in told] == [("info", "malformed_request")]
    assert secret.decode() not in server.log()


def test_a_flood_of_headers_is_refused(client: Client) -> None:
    flood = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 100) for number in range(20_000))
    answer = client.exchange(b"GET /readyz HTTP/1.1\r\nHost: x\r\n" + flood + b"\r\n")
    assert status_of(answer) in (0, 400, 431)


def test_http_1_0(client: Client) -> None:
    head = f"Authorization: Bearer {client.key}\r\n"
    data = content(3000)
    posted = client.exchange(
        f"POST /v1/objects HTTP/1.0\r\n{head}Content-Length: 3000\r\n\r\n".encode() + data
    )
    assert status_of(posted) == 201
    id_ = client.get("/v1/objects?limit=1").json()["objects"][0]["id"]
    got = client.exchange(f"GET /v1/objects/{id_}/content HTTP/1.0\r\n{head}\r\n".encode())
    assert status_of(got) == 200
    assert got.partition(b"\r\n\r\n")[2] == data


def test_a_chunked_body_is_taken(client: Client) -> None:
    data = content(300_000)
    cut = [data[start : start + 7001] for start in range(0, len(data), 7001)]
    made = client.post(iter(cut)).json()
    assert client.content(made["id"]) == data
    upload = client.create(len(data))
    assert client.patch(upload, 0, iter(cut)).offset == len(data)
    assert client.get(f"/v1/objects/{upload.rpartition('/')[2]}").json()["blob"] == made["blob"]


def test_broken_chunked_framing_keeps_what_came_before(client: Client) -> None:
    data = content(100_000)
    upload = client.create(len(data))
    lines = ["Tus-Resumable: 1.0.0", "Upload-Offset: 0", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in OFFSET_TYPE.items()]
    head = raw_head(client, "PATCH", upload, *lines)
    sent = b"%x\r\n%s\r\n" % (30_000, data[:30_000])
    answer = client.exchange(head + sent + b"nonsense\r\n")
    assert status_of(answer) in (0, 400)
    offset = client.offset(upload)
    assert 0 <= offset <= 30_000
    assert client.patch(upload, offset, data[offset:]).offset == len(data)
    assert client.content(upload.rpartition("/")[2]) == data


def test_expectations(client: Client) -> None:
    answer = client.post(b"x", Expect="something-else")
    assert answer.status == 417
    data = content(50_000)
    with client.socket() as opened:
        opened.sendall(
            raw_head(client, "POST", "/v1/objects", "Content-Length: 50000", "Expect: 100-continue")
        )
        assert opened.recv(1000).startswith(b"HTTP/1.1 100 ")
        opened.sendall(data)
        assert opened.recv(1000).startswith(b"HTTP/1.1 201 ")


def test_a_content_coding_is_kept_not_decoded(client: Client) -> None:
    """The bytes that were sent are the bytes that were hashed: a bomb stays a few bytes."""
    from gzip import compress

    packed = compress(bytes(1_000_000))
    made = client.made(packed, Content_Encoding="gzip")
    assert made["size"] == len(packed)
    assert client.content(made["id"]) == packed


# Clients that are slow or vanish


def test_clients_that_vanish_in_the_middle(client: Client) -> None:
    data = content(500_000)
    made = client.made(data)
    upload = client.create(len(data))
    for _ in range(10):
        with client.socket() as opened:
            opened.sendall(client.head_of_patch(upload, 0, len(data)) + data[:1000])
        with client.socket() as opened:
            opened.sendall(raw_head(client, "GET", f"/v1/objects/{made['id']}/content"))
            opened.recv(1)
        with client.socket() as opened:
            opened.sendall(raw_head(client, "POST", "/v1/objects", "Content-Length: 500000") + b"x")
        with client.socket() as opened:
            opened.sendall(b"GET /v1/obj")
    offset = client.offset(upload)
    assert client.patch(upload, offset, data[offset:]).offset == len(data)
    assert client.content(upload.rpartition("/")[2]) == data
