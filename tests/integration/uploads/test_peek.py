"""Looking at an upload: nothing is taken, and a token opens nothing but that."""

from uuid import UUID

import asyncpg
import pytest

from mediastore.access import peek_tokens
from mediastore.catalog.tenants import create_tenant, renew_token_secret
from mediastore.uploads.peek import PEEK_TOKENS
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_replicas import DATA, SIZE, never, sleeping
from tests.integration.uploads.test_tus import create, offset_of, patch


async def peek(
    service: Service, url: str, token: str = "", *, key: bool = True
) -> tuple[int, dict[str, str]]:
    headers = service.bearer if key else {}
    answer = await service.client.head(f"{url}?peek={token}", headers=headers)
    return answer.status, dict(answer.headers)


async def token_for(service: Service, url: str) -> str:
    answer = await service.client.post(f"{url}/peek", headers=service.bearer)
    assert answer.status == 200
    document = await answer.json()
    assert document["url"] == f"{url}?peek={document['token']}"
    return str(document["token"])


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_peek_takes_nothing_from_a_writer(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    uploads = {"hand_over_wait_seconds": 10}
    first = await start(uploads=uploads)
    looking = await start(first.kept, uploads=uploads) if elsewhere else first
    await until(lambda: first.uploads.replicas.listening and looking.uploads.replicas.listening)
    monkeypatch.setattr(looking.uploads.replicas, "wait", never("it waited"))
    url = await create(first, SIZE)
    assert await patch(first, url, 0, DATA[:10_000]) == (204, "10000")
    writing = await sleeping(first, url, DATA[10_000:20_000], 10_000)
    row = await sql.fetchrow("SELECT *, xmin FROM uploads")
    token = await token_for(looking, url)
    for status, headers in (await peek(looking, url), await peek(looking, url, token, key=False)):
        assert (status, headers["Upload-Offset"], headers["Upload-Length"]) == (
            200,
            "10000",
            str(SIZE),
        )
        assert headers["Upload-Complete"] == "?0"
        assert headers["Cache-Control"] == "no-store"
        assert "Upload-Expires" in headers
    assert await sql.fetchrow("SELECT *, xmin FROM uploads") == row
    assert not writing.answer.done()
    monkeypatch.undo()
    assert await offset_of(looking, url) == 20_000
    assert await writing.ended() == (409, "upload_taken")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Tus-Resumable": "1.0.0"},
        {"Upload-Draft-Interop-Version": "8"},
        {"Upload-Draft-Interop-Version": "6", "Upload-Complete": "?1"},
        {"Tus-Resumable": "1.0.0", "X-HTTP-Method-Override": "HEAD"},
    ],
)
async def test_a_peek_takes_nothing_whatever_protocol_is_spoken(
    service: Service, sql: asyncpg.Connection, headers: dict[str, str]
) -> None:
    url = await create(service, SIZE)
    epoch = await sql.fetchval("SELECT epoch FROM uploads")
    method = "POST" if "X-HTTP-Method-Override" in headers else "HEAD"
    answer = await service.client.request(method, f"{url}?peek", headers=service.bearer | headers)
    assert (answer.status, answer.headers["Upload-Offset"]) == (200, "0")
    assert await sql.fetchval("SELECT epoch FROM uploads") == epoch


async def test_a_finished_upload_is_shown_for_as_long_as_an_unfinished_one(
    service: Service, sql: asyncpg.Connection
) -> None:
    url = await create(service, 5)
    token = await token_for(service, url)
    assert await patch(service, url, 0, b"hello") == (204, "5")
    status, headers = await peek(service, url, token, key=False)
    assert (status, headers["Upload-Offset"], headers["Upload-Complete"]) == (200, "5", "?1")
    await sql.execute("UPDATE objects SET created_at = created_at - interval '8 days'")
    assert (await peek(service, url, token, key=False))[0] == 404
    assert (await peek(service, url))[0] == 200


async def test_a_token_dies_with_its_upload(service: Service) -> None:
    url = await create(service, 5)
    token = await token_for(service, url)
    assert (await service.client.delete(url, headers=service.tus)).status == 204
    assert (await peek(service, url, token, key=False))[0] == 404


async def test_a_token_opens_nothing_else(service: Service) -> None:
    url = await create(service, SIZE)
    token = await token_for(service, url)
    other = await create(service, SIZE)
    assert (await peek(service, other, token, key=False))[0] == 401
    without_key = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    bearing = without_key | {"Authorization": f"Bearer {token}"}
    for headers in (without_key, bearing):
        for method, path in (
            ("PATCH", f"{url}?peek={token}"),
            ("DELETE", f"{url}?peek={token}"),
            ("POST", f"/v1/uploads?peek={token}"),
            ("POST", f"{url}/peek?peek={token}"),
            ("POST", f"/v1/objects?peek={token}"),
            ("HEAD", url),
        ):
            answer = await service.client.request(
                method, path, headers=headers | {"Upload-Offset": "0", "Upload-Length": "5"}
            )
            assert answer.status == 401, (method, path)
    assert await offset_of(service, url) == 0


async def test_what_is_no_token_is_unauthorized(service: Service) -> None:
    url = await create(service, SIZE)
    token = await token_for(service, url)
    tenant, _, signature = token.partition(".")
    for wrong in (
        "x",
        ".",
        f"{tenant}.",
        f"{tenant}",
        f"other.{signature}",
        f"{tenant}.{signature[:-1]}",
        f"{tenant}.{signature}x",
        f"{tenant}.{signature.swapcase()}",
        "é.é",
        "%00.x",
        "a" * 5000,
    ):
        assert (await peek(service, url, wrong, key=False))[0] == 401, wrong
        assert (await peek(service, url, wrong))[0] == 401, wrong  # a key does not mend it
    assert (await peek(service, url, key=False))[0] == 401


async def test_a_token_of_one_tenant_is_none_of_another(service: Service) -> None:
    await create_tenant(service.catalog, "other")
    url = await create(service, SIZE)
    tokens = service.app[PEEK_TOKENS]
    forged = await tokens.make("other", UUID(url.rpartition("/")[2]))
    assert (await peek(service, url, forged, key=False))[0] == 404


async def test_renewing_the_secret_ends_every_token(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peek_tokens, "CACHE_SECONDS", 0.0)
    url = await create(service, SIZE)
    token = await token_for(service, url)
    assert (await peek(service, url, token, key=False))[0] == 200
    await renew_token_secret(service.catalog, "acme")
    assert (await peek(service, url, token, key=False))[0] == 401
    assert (await peek(service, url, await token_for(service, url), key=False))[0] == 200


async def test_secrets_differ(service: Service, sql: asyncpg.Connection) -> None:
    await create_tenant(service.catalog, "other")
    secrets = await sql.fetch("SELECT token_secret FROM tenants")
    assert len({row["token_secret"] for row in secrets}) == 2
    assert {len(row["token_secret"]) for row in secrets} == {32}


async def test_an_upload_that_is_not_there_gets_no_token(service: Service) -> None:
    missing = "/v1/uploads/019a0000-0000-7000-8000-000000000000"
    answer = await service.client.post(f"{missing}/peek", headers=service.bearer)
    assert answer.status == 404
    assert (await peek(service, missing))[0] == 404
