"""The application around every request: errors as problems, limits, and starts that must fail."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from mediastore.app import build_app
from mediastore.clock import SystemClock
from mediastore.errors import CatalogUnavailable, ChunkStoreUnavailable, SchemaMismatch
from mediastore.settings import Settings, load_settings
from tests.conftest import DatabaseServer
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, bearer, running, settings_on, until, upload


async def test_the_unexpected_is_internal_logged_and_not_told(
    keys: Keys, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_arguments: object, **_named: object) -> None:
        raise ZeroDivisionError("the secret reason")

    monkeypatch.setattr("mediastore.objects.routes.list_objects", crash)
    with capture_logs() as logged:
        async with service.client.get("/v1/objects", headers=bearer(keys.acme)) as response:
            assert response.status == 500
            assert response.content_type == "application/problem+json"
            text = await response.text()
    assert '"code": "internal"' in text
    assert "secret" not in text
    assert "Traceback" not in text
    (entry,) = [entry for entry in logged if entry["event"] == "request_crashed"]
    assert isinstance(entry["exc_info"], ZeroDivisionError)


async def test_too_many_requests_at_once(dsn: str, tmp_path: Path, keys: Keys) -> None:
    settings = settings_on(dsn, tmp_path, http={"access_log": False, "requests_max": 2})
    async with running(settings) as service:
        body = b"POST /v1/objects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % (
            keys.acme.encode()
        )
        held = [await service.slow_socket(body + b"Content-Length: 5\r\n\r\nab") for _ in range(2)]
        await until(lambda: service.sample("requests_in_progress") == 2)
        async with service.client.get("/v1/objects", headers=bearer(keys.acme)) as response:
            assert response.status == 503
            assert response.headers["Retry-After"]
            assert (await response.json())["code"] == "overloaded"
        for connection in held:
            connection.close()
        await until(lambda: service.sample("requests_in_progress") == 0)
        async with service.client.get("/v1/objects", headers=bearer(keys.acme)) as response:
            assert response.status == 200


async def test_an_error_before_a_short_body_was_read_keeps_the_connection(
    service: Service,
) -> None:
    refused = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await service.raw(refused + last)
    assert answer.count(b"HTTP/1.1 404") == 1
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_an_error_before_a_long_body_was_read_closes_the_connection(
    service: Service,
) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head + b"x" * 1000)
    async with asyncio.timeout(5):  # the answer does not wait for the body
        status = await reader.readuntil(b"\r\n\r\n")
    assert b"404" in status
    assert b"Connection: close" in status
    writer.close()


async def test_a_client_that_goes_away_is_no_error(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.public, b"x" * 300_000)
    with capture_logs() as logged:
        for _ in range(10):
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(f"GET {made['links']['media']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            writer.transport.abort()
        await until(lambda: service.sample("requests_in_progress") == 0)
    assert [entry for entry in logged if entry["log_level"] in ("error", "warning")] == []


async def test_a_start_without_a_database_fails_with_its_error(tmp_path: Path) -> None:
    settings = settings_on("postgresql://nobody@127.0.0.1:1/none", tmp_path)
    with pytest.raises(CatalogUnavailable):
        await _start(settings)


async def test_a_start_on_an_empty_database_says_what_to_do(
    database_server: DatabaseServer, connection: object, tmp_path: Path, dsn: str
) -> None:
    await connection.execute("DROP TABLE schema_migrations")  # type: ignore[attr-defined]
    with pytest.raises(SchemaMismatch, match="mediastore migrate"):
        await _start(settings_on(dsn, tmp_path))


async def test_a_start_without_a_chunk_store_fails_with_its_error(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = {"driver": "directory", "directory": str(tmp_path / "file" / "chunks")}
    settings = load_settings(None, catalog={"dsn": dsn}, chunk_store=store)
    with pytest.raises(ChunkStoreUnavailable):
        await _start(settings)


async def _start(settings: Settings) -> None:
    runner = web.AppRunner(build_app(settings, clock=SystemClock()), access_log=None)
    try:
        await runner.setup()
    finally:
        await runner.cleanup()
