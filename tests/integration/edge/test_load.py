"""Load is answered 429 or 503 with Retry-After, to who causes it; what is not uploads goes on."""

from pathlib import Path

import pytest

from mediastore.app_keys import MEMORY
from mediastore.uploads.keys import UPLOADS
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, bearer, running, settings_on, until, upload

TUS = {"Tus-Resumable": "1.0.0"}


async def listed(service: Service, key: str) -> tuple[int, str | None, bool]:
    """Status, code and whether Retry-After is there."""
    async with service.client.get("/v1/objects", headers=bearer(key)) as answer:
        document = await answer.json()
        return answer.status, document.get("code"), "Retry-After" in answer.headers


async def test_a_tenant_does_not_take_all_places(dsn: str, tmp_path: Path, keys: Keys) -> None:
    http = {"access_log": False, "requests_max": 8, "tenant_requests_share": 0.5}
    async with running(settings_on(dsn, tmp_path, http=http)) as service:
        post = f"POST /v1/objects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keys.acme}\r\n"
        head = post.encode() + b"Content-Length: 5\r\n\r\nab"
        held = [await service.slow_socket(head) for _ in range(4)]
        await until(lambda: service.sample("requests_in_progress") == 4)
        await until(lambda: len(service.app[UPLOADS]._bodies) == 4)
        assert await listed(service, keys.acme) == (429, "too_many_requests", True)
        assert await listed(service, keys.other) == (200, None, False)
        # tus-js-client gives up at a 429.
        creation = bearer(keys.acme) | TUS | {"Upload-Length": "10"}
        async with service.client.post("/v1/uploads", headers=creation) as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "tenant_busy")
            assert answer.headers["Retry-After"]
        for connection in held:
            connection.close()
        await until(lambda: service.sample("requests_in_progress") == 0)
        assert await listed(service, keys.acme) == (200, None, False)


async def test_a_tenant_with_too_many_unfinished_uploads(
    dsn: str, tmp_path: Path, keys: Keys
) -> None:
    uploads = {"open_max_per_tenant": 3}
    async with running(settings_on(dsn, tmp_path, uploads=uploads)) as service:
        opened = service.app[UPLOADS].open

        async def create(key: str, body: bytes | None = None) -> tuple[int, str]:
            headers = bearer(key) | TUS | {"Upload-Length": "10"}
            if body is not None:
                headers["Content-Type"] = "application/offset+octet-stream"
            async with service.client.post("/v1/uploads", headers=headers, data=body) as answer:
                if answer.status != 201:
                    assert answer.headers["Retry-After"]
                    return answer.status, (await answer.json())["code"]
                return answer.status, answer.headers["Location"]

        urls = [(await create(keys.acme))[1] for _ in range(3)]
        await opened.count()
        for body in (None, b"12345"):
            assert await create(keys.acme, body) == (429, "too_many_uploads")
        assert (await create(keys.other))[0] == 201
        # Going on, and what leaves nothing unfinished, is not refused.
        headers = bearer(keys.acme) | TUS
        async with service.client.head(urls[0], headers=headers) as answer:
            assert answer.status == 200
        await upload(service, keys.acme, b"in one request")
        async with service.client.delete(urls[0], headers=headers) as answer:
            assert answer.status == 204
        await opened.count()
        assert (await create(keys.acme))[0] == 201


async def test_bodies_that_fill_their_memory_slow_nothing_else_down(
    dsn: str, tmp_path: Path, keys: Keys
) -> None:
    memory = {"wait_max_seconds": 0.2, "chunk_cache_bytes": 0}
    async with running(settings_on(dsn, tmp_path, memory=memory)) as service:
        budget = service.app[MEMORY]
        made = await upload(service, keys.acme, b"hello" * 5000)
        headers = bearer(keys.acme) | TUS
        async with service.client.post(
            "/v1/uploads", headers=headers | {"Upload-Length": "10"}
        ) as answer:
            url = answer.headers["Location"]
        await until(lambda: budget.in_use_bytes == 0)
        await budget.acquire(budget.bodies_limit_bytes, timeout_seconds=1, body=True)
        async with service.client.post(
            "/v1/objects", headers=bearer(keys.acme), data=b"x" * 1000
        ) as answer:
            assert answer.status == 503
            assert (await answer.json())["code"] == "overloaded"
            assert answer.headers["Retry-After"]
        async with service.client.get(made["links"]["content"], headers=headers) as answer:
            assert await answer.read() == b"hello" * 5000
        async with service.client.head(url, headers=headers) as answer:
            assert answer.status == 200
        budget.release(budget.bodies_limit_bytes, body=True)
        await upload(service, keys.acme, b"there is room again")


@pytest.mark.parametrize("share", [0, 1.5])
def test_a_share_is_a_share(dsn: str, tmp_path: Path, share: float) -> None:
    with pytest.raises(Exception, match="tenant_requests_share"):
        settings_on(dsn, tmp_path, http={"tenant_requests_share": share})
