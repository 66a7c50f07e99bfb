"""Every URL that an answer names, and the client's address in the log, behind a proxy."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, bearer, running, settings_on

SAID = {
    "X-Forwarded-For": "198.51.100.2",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "media.example",
    "X-Forwarded-Prefix": "/files",
}
LOOPBACK = ["127.0.0.0/8"]


async def named_urls(service: Service, key: str) -> list[str]:
    """The URLs in the answers to a creation, to an upload in one request and to a listing."""
    headers = bearer(key) | SAID
    tus = headers | {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}
    async with service.client.post("/v1/uploads", headers=tus) as created:
        found = [created.headers["Location"]]
    async with service.client.post("/v1/objects", headers=headers, data=b"hello") as posted:
        made = await posted.json()
        found += [posted.headers["Location"], *made["links"].values()]
    async with service.client.get("/v1/objects", headers=headers) as listed:
        for item in (await listed.json())["objects"]:
            found += item["links"].values()
    return found


@pytest.mark.parametrize(
    ("http", "base"),
    [
        ({}, ""),
        ({"trusted_proxies": LOOPBACK}, "/files"),
        ({"trusted_proxies": LOOPBACK, "absolute_urls": True}, "https://media.example/files"),
        ({"absolute_urls": True, "base_path": "/b"}, "http://127.0.0.1:{port}/b"),
        ({"trusted_proxies": ["10.0.0.0/8"], "absolute_urls": True}, "http://127.0.0.1:{port}"),
        ({"public_url": "https://cdn.example/m/"}, "https://cdn.example/m"),
    ],
)
async def test_every_url_has_the_same_base(
    dsn: str, tmp_path: Path, keys: Keys, http: dict[str, Any], base: str
) -> None:
    settings = settings_on(dsn, tmp_path, http={"access_log": False, **http})
    async with running(settings) as service:
        begins = base.format(port=service.port)
        found = await named_urls(service, keys.acme)
        assert len(found) == 8
        for url in found:
            assert url.startswith((f"{begins}/v1/", f"{begins}/media/")), url


async def test_the_log_names_the_client_that_a_trusted_proxy_names(
    dsn: str, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediastore.telemetry.access_log.is_console", lambda *_: True)
    for trusted, client in ((LOOPBACK, "198.51.100.2"), ([], "127.0.0.1")):
        settings = settings_on(dsn, tmp_path, http={"trusted_proxies": trusted})
        async with running(settings) as service:
            with capture_logs() as logged:
                await get(service.client, keys.acme)
        (entry,) = [entry for entry in logged if entry["event"] == "request"]
        assert entry["remote"] == client


async def get(client: aiohttp.ClientSession, key: str) -> None:
    async with client.get("/v1/objects", headers=bearer(key) | SAID) as answer:
        assert answer.status == 200
