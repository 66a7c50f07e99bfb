"""CORS on the whole application: preflights, errors of every layer, and the lists of headers."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mediastore.cors import EXPOSED_HEADERS, NOT_EXPOSED, READABLE_ANYWAY
from mediastore.settings import Settings
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, bearer, running, settings_on, until, upload

PAGE = "https://app.example.com"
STRANGER = {"Origin": "https://evil.example"}
ORIGIN = {"Origin": PAGE}
TUS = {"Tus-Resumable": "1.0.0"}
OFFSET = {"Content-Type": "application/offset+octet-stream"}
URLS = [
    "/v1/uploads",
    "/v1/uploads/019a0000-0000-7000-8000-000000000000",
    "/v1/objects",
    "/v1/objects/019a0000-0000-7000-8000-000000000000",
    "/v1/objects/019a0000-0000-7000-8000-000000000000/content",
    "/v1/objects/019a0000-0000-7000-8000-000000000000/restore",
    "/media/public/" + "0" * 64 + "/x.jpg",
]


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    http = {"access_log": False, "requests_max": 3}
    return settings_on(dsn, tmp_path, http=http, cors={"allowed_origins": [PAGE]})


def names(listed: str) -> set[str]:
    return {name.strip().lower() for name in listed.split(",")}


async def ask(
    service: Service, method: str, path: str, headers: Mapping[str, str], data: Any = None
) -> tuple[int, Mapping[str, str]]:
    async with service.client.request(method, path, headers=headers, data=data) as answer:
        await answer.read()
        return answer.status, answer.headers


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "GET"])
async def test_a_preflight_needs_no_key(service: Service, url: str, method: str) -> None:
    wanted = {
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,tus-resumable,upload-offset",
    }
    status, headers = await ask(service, "OPTIONS", url, ORIGIN | wanted)
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert method in headers["Access-Control-Allow-Methods"].split(", ")
    assert names(wanted["Access-Control-Request-Headers"]) <= names(
        headers["Access-Control-Allow-Headers"]
    )
    assert headers["Access-Control-Max-Age"] == "7200"
    assert {"origin", "access-control-request-method"} <= names(headers["Vary"])
    assert "Access-Control-Allow-Private-Network" not in headers
    status, headers = await ask(service, "OPTIONS", url, STRANGER | wanted)
    assert (status, "Access-Control-Allow-Origin" in headers) == (204, False)
    assert "Access-Control-Allow-Methods" not in headers


async def test_a_preflight_of_no_url_of_ours_is_not_found(service: Service) -> None:
    asking = ORIGIN | {"Access-Control-Request-Method": "GET"}
    status, headers = await ask(service, "OPTIONS", "/nowhere", asking)
    assert status == 404
    assert headers["Access-Control-Allow-Origin"] == PAGE


async def test_discovery_is_still_discovery(service: Service) -> None:
    """An OPTIONS that no browser has sent before a request of a page."""
    answered: Mapping[str, str] = {}
    for headers in ({}, ORIGIN):
        status, answered = await ask(service, "OPTIONS", "/v1/uploads", headers)
        assert (status, answered["Tus-Version"]) == (204, "1.0.0")
    assert {"tus-version", "tus-extension"} <= names(answered["Access-Control-Expose-Headers"])


async def test_errors_of_every_layer_can_be_read(service: Service, keys: Keys) -> None:
    key = bearer(keys.acme)
    asked = [
        (401, "GET", "/v1/objects", {}),
        (404, "GET", "/nowhere", key),
        (404, "GET", URLS[3], key),
        (405, "PUT", "/v1/objects", key),
        (412, "POST", "/v1/uploads", key),
        (413, "POST", "/v1/uploads", key | TUS | {"Upload-Length": str(10**17)}),
    ]
    for expected, method, url, headers in asked:
        status, answered = await ask(service, method, url, headers | ORIGIN)
        assert (status, answered["Access-Control-Allow-Origin"]) == (expected, PAGE)
        assert "Origin" in answered["Vary"]
        status, answered = await ask(service, method, url, headers | STRANGER)
        assert (status, "Access-Control-Allow-Origin" in answered) == (expected, False)
        assert "Origin" in answered["Vary"]


async def test_an_overload_can_be_read(service: Service, keys: Keys) -> None:
    post = b"POST /v1/objects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % (
        keys.acme.encode()
    )
    for _ in range(3):
        await service.slow_socket(post + b"Content-Length: 5\r\n\r\nab")
    await until(lambda: service.sample("requests_in_progress") == 3)
    status, headers = await ask(service, "GET", "/v1/objects", ORIGIN)
    assert (status, headers["Access-Control-Allow-Origin"]) == (503, PAGE)
    assert headers["Retry-After"]


async def test_content_is_marked_also_where_answers_are_written_at_once(
    service: Service, keys: Keys
) -> None:
    made = await upload(service, keys.public, b"hello")
    for url, headers in (
        (made["links"]["media"], {}),
        (made["links"]["content"], bearer(keys.public)),
        (made["links"]["media"], {"Range": "bytes=1-2"}),
        (made["links"]["media"], {"If-None-Match": "*"}),
        (made["links"]["media"], {"Range": "bytes=9-"}),
    ):
        _, answered = await ask(service, "GET", url, headers | ORIGIN)
        assert answered["Access-Control-Allow-Origin"] == PAGE
        assert "Origin" in answered["Vary"]
        _, answered = await ask(service, "GET", url, headers)
        assert "Access-Control-Allow-Origin" not in answered
        assert "Origin" in answered["Vary"]  # a cache may give it to a page next


async def answers(service: Service, keys: Keys) -> AsyncIterator[Mapping[str, str]]:
    """The headers of every kind of answer that clients of ours get."""
    key = bearer(keys.acme)
    made = await upload(service, keys.acme, b"hello world", content_type="text/html")
    tus = key | TUS
    _, created = await ask(service, "POST", "/v1/uploads", tus | {"Upload-Length": "10"})
    yield created
    url = created["Location"]
    content, self_ = made["links"]["content"], made["links"]["self"]
    asked = [
        ("OPTIONS", "/v1/uploads", {}, None),
        ("HEAD", url, tus, None),
        ("PATCH", url, tus | OFFSET | {"Upload-Offset": "0"}, b"12345"),
        ("PATCH", url, tus | OFFSET | {"Upload-Offset": "0"}, b"12345"),
        ("PATCH", url, tus | OFFSET | {"Upload-Offset": "5"}, b"12345"),
        ("HEAD", url, tus, None),
        ("DELETE", url, tus, None),
        ("POST", "/v1/uploads", key, None),
        ("POST", "/v1/objects", key, b"x"),
        ("GET", "/v1/objects", key, None),
        ("GET", "/v1/objects", {}, None),
        ("PUT", "/v1/objects", key, None),
        ("GET", self_, key, None),
        ("GET", content, key, None),
        ("HEAD", content, key, None),
        ("GET", content, key | {"Range": "bytes=0-1"}, None),
        ("GET", content, key | {"Range": "bytes=99-"}, None),
        ("GET", content, key | {"If-None-Match": "*"}, None),
        ("GET", made["links"]["media"], key, None),
        ("DELETE", self_, key, None),
        ("POST", self_ + "/restore", key, None),
        ("OPTIONS", self_, ORIGIN | {"Access-Control-Request-Method": "GET"}, None),
    ]
    for method, path, headers, data in asked:
        yield (await ask(service, method, path, headers | ORIGIN, data))[1]


async def test_every_header_of_every_answer_is_exposed_or_said_not_to_be(
    service: Service, keys: Keys
) -> None:
    known = {name.lower() for name in (*EXPOSED_HEADERS, *READABLE_ANYWAY, *NOT_EXPOSED)}
    met: set[str] = set()
    async for headers in answers(service, keys):
        met |= {name.lower() for name in headers}
    unknown = {name for name in met if not name.startswith("access-control-")} - known
    assert not unknown, "put them into one of the lists of cors.py"
    assert {"upload-offset", "location", "etag", "content-range", "allow", "x-request-id"} <= met


async def test_private_networks(dsn: str, tmp_path: Path) -> None:
    cors = {"allowed_origins": ["*"], "private_network": True}
    asking = ORIGIN | {"Access-Control-Request-Method": "PATCH"}
    private = {"Access-Control-Request-Private-Network": "true"}
    async with running(settings_on(dsn, tmp_path, cors=cors)) as service:
        _, headers = await ask(service, "OPTIONS", "/v1/uploads", asking | private)
        assert headers["Access-Control-Allow-Private-Network"] == "true"
        assert headers["Access-Control-Allow-Origin"] == "*"
        _, headers = await ask(service, "OPTIONS", "/v1/uploads", asking)
        assert "Access-Control-Allow-Private-Network" not in headers


async def test_off_adds_nothing(dsn: str, tmp_path: Path, keys: Keys) -> None:
    async with running(settings_on(dsn, tmp_path)) as service:
        made = await upload(service, keys.public, b"hello")
        for url in ("/v1/objects", made["links"]["media"]):
            _, headers = await ask(service, "GET", url, ORIGIN)
            assert not [name for name in headers if name.lower().startswith("access-control-")]
            assert "Vary" not in headers
        asking = ORIGIN | {"Access-Control-Request-Method": "GET"}
        status, headers = await ask(service, "OPTIONS", "/v1/uploads", asking)
        assert (status, headers["Tus-Version"]) == (204, "1.0.0")
