"""The app is asked before anything is created; what it says holds, and silence refuses."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web
from blake3 import blake3
from structlog.testing import capture_logs

from mediastore.catalog.objects import get_object
from mediastore.catalog.tenants import rotate_webhook_secret
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.policies import forget_policies, set_policy
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, patch
from tests.receiver import Receiver, receiving

HASH = blake3(content(5000)).hexdigest()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        opened.says(200, {"allow": True})
        yield opened


async def hooked(service: Service, receiver: Receiver) -> str:
    """The secret that questions are signed with."""
    secret = await set_policy(service, before_create_url=receiver.url)
    assert secret is not None
    return secret


async def raw(service: Service, query: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    answer = await service.client.post(
        f"/v1/objects{query}",
        data=content(5000),
        headers={**service.bearer, "Content-Type": "image/png", **headers},
    )
    document: dict[str, Any] = await answer.json()
    return answer.status, document


async def assert_nothing_was_made(service: Service, sql: asyncpg.Connection) -> None:
    for table in ("objects", "uploads", "chunks", "blobs"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert not service.store.calls


async def test_what_the_app_is_asked(service: Service, receiver: Receiver) -> None:
    secret = await hooked(service, receiver)
    metadata = json.dumps({"album": [1, "Ferien ☀"]})
    status, made = await raw(
        service, f"?name=a.png&owner=u1&blake3={HASH}&metadata={metadata}", **{"X-A": "b"}
    )
    assert status == 201
    (message,) = receiver.messages
    assert message.signed_with(secret)
    assert message.headers["content-type"] == "application/json"
    assert message.headers["webhook-id"] == f"create_{made['id']}"
    assert "authorization" not in message.headers
    document = message.document
    assert document.keys() == {"type", "timestamp", "data"}
    assert document["type"] == "upload.before_create"
    assert document["data"] == {
        "tenant": "acme",
        "id": made["id"],
        "owner": "u1",
        "name": "a.png",
        "content_type": "image/png",
        "size": 5000,
        "blake3": HASH,
        "metadata": {"album": [1, "Ferien ☀"]},
        "protocol": "raw",
        "client_address": "127.0.0.1",
    }


@pytest.mark.parametrize("with_body", [False, True])
async def test_tus_creations_are_asked_once_and_their_other_requests_never(
    service: Service, receiver: Receiver, with_body: bool
) -> None:
    await hooked(service, receiver)
    data = content(20_000)
    if with_body:
        headers = {**service.tus, **PATCH_TYPE, "Upload-Length": "20000"}
        answer = await service.client.post("/v1/uploads", data=data[:10_000], headers=headers)
        assert answer.status == 201
        url = answer.headers["Location"]
    else:
        url = await create(service, 20_000)
        await patch(service, url, 0, data[:10_000])
    assert (await patch(service, url, 10_000, data[10_000:]))[0] == 204
    (message,) = receiver.messages
    assert message.document["data"]["protocol"] == "tus"
    assert message.document["data"]["id"] == url.rpartition("/")[2]


async def test_what_the_app_says_holds(
    service: Service, receiver: Receiver, sql: asyncpg.Connection
) -> None:
    await hooked(service, receiver)
    answer = {
        "allow": True,
        "name": "named.bin",
        "owner": "somebody",
        "content_type": "application/x-own",
        "metadata": {"by": "app"},
    }
    receiver.says(200, answer)
    status, made = await raw(service, '?name=mine&owner=me&metadata={"by":"client"}')
    assert status == 201
    assert {name: made[name] for name in answer if name != "allow"} == {
        name: value for name, value in answer.items() if name != "allow"
    }
    receiver.says(200, answer | {"expires_seconds": 600})
    url = await create(service, 20_000)
    await patch(service, url, 0, content(10_000))
    row = await sql.fetchrow("SELECT expires_at, expiry_fixed FROM uploads")
    assert row["expiry_fixed"]
    left = row["expires_at"] - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=600)
    assert (await patch(service, url, 10_000, content(10_000)))[0] == 204
    stored = await get_object(service.catalog, "acme", UUID(url.rpartition("/")[2]))
    assert stored is not None
    assert (stored.name, stored.owner) == ("named.bin", "somebody")


async def test_a_denial_has_the_app_s_reason_and_leaves_nothing(
    service: Service, receiver: Receiver, sql: asyncpg.Connection
) -> None:
    await hooked(service, receiver)
    receiver.says(200, {"allow": False, "reason": "your plan has no room left", "name": "x"})
    status, problem = await raw(service)
    assert (status, problem["code"]) == (403, "denied_by_app")
    assert problem["detail"] == "your plan has no room left"
    answer = await service.client.post(
        "/v1/uploads", headers={**service.tus, "Upload-Length": "10"}
    )
    assert answer.status == 403
    await assert_nothing_was_made(service, sql)
    assert service.app_metric("hook_answers_total", outcome="denied") == 2
    assert service.app_metric("hook_seconds_count") == 2


async def redirect(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("/hook")


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


WRONG: dict[str, Any] = {
    "not 200": (500, {"allow": True}),
    "no content": (204, None),
    "not JSON": (200, None),
    "not an object": (200, [True]),
    "no verdict": (200, {}),
    "a verdict of another type": (200, {"allow": "yes"}),
    "a member nobody knows": (200, {"allow": True, "size": 5}),
    "a name that cannot be": (200, {"allow": True, "name": "a\x00b"}),
    "a type that is none": (200, {"allow": True, "content_type": "picture"}),
    "too much metadata": (200, {"allow": True, "metadata": {"a": "x" * 20_000}}),
    "an expiry below the least": (200, {"allow": True, "expires_seconds": 1}),
    "a redirect": redirect,
    "a connection that breaks": hang_up,
    "an answer without an end": endless,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("fail_open", [False, True])
async def test_an_app_that_answers_wrongly(
    start: Starter, receiver: Receiver, sql: asyncpg.Connection, wrong: str, fail_open: bool
) -> None:
    service = await start(hooks={"fail_open": fail_open})
    await hooked(service, receiver)
    how = WRONG[wrong]
    if isinstance(how, tuple):
        receiver.says(*how)
    else:
        receiver.answer = how
    with capture_logs() as logs:
        status, document = await raw(service, "?name=mine")
    (told,) = (line for line in logs if line["event"] == "before_create_failed")
    assert "within" not in told["why"], "it was waited for, not understood"
    assert service.app_metric("hook_answers_total", outcome="failed") == 1
    assert len(receiver.messages) == 1
    if fail_open:
        assert (status, document["name"]) == (201, "mine")
        return
    assert (status, document["code"]) == (503, "hook_unavailable")
    assert "/hook" not in document["detail"]
    await assert_nothing_was_made(service, sql)


async def test_an_app_that_is_slow_or_not_there(
    start: Starter, receiver: Receiver, sql: asyncpg.Connection
) -> None:
    service = await start(hooks={"timeout_seconds": 0.2})
    await hooked(service, receiver)
    receiver.gate = asyncio.Event()
    status, document = await raw(service)
    assert (status, document["code"]) == (503, "hook_unavailable")
    receiver.gate.set()
    await set_policy(service, before_create_url="http://127.0.0.1:9/hook")
    answer = await service.client.post(
        "/v1/uploads", headers={**service.tus, "Upload-Length": "10"}
    )
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    await assert_nothing_was_made(service, sql)


async def test_while_the_app_thinks_no_connection_to_the_database_is_held(
    start: Starter, receiver: Receiver
) -> None:
    """More uploads wait for their app than there are connections; all others go on."""
    service = await start(pool_size_max=2)
    await hooked(service, receiver)
    receiver.gate = asyncio.Event()
    waiting = [asyncio.create_task(raw(service)) for _ in range(5)]
    await until(lambda: receiver.held == 5)
    opened, idle = service.catalog.connections
    assert opened == idle
    receiver.gate.set()
    assert [status for status, _ in await asyncio.gather(*waiting)] == [201] * 5


async def test_questions_at_once_are_bounded(start: Starter, receiver: Receiver) -> None:
    service = await start(hooks={"concurrency_max": 2})
    await hooked(service, receiver)
    receiver.gate = asyncio.Event()
    waiting = [asyncio.create_task(raw(service)) for _ in range(6)]
    await until(lambda: receiver.held == 2)
    await asyncio.sleep(0.05)
    receiver.gate.set()
    assert [status for status, _ in await asyncio.gather(*waiting)] == [201] * 6
    assert receiver.held_max == 2


async def test_a_new_secret_signs_beside_the_old_one(service: Service, receiver: Receiver) -> None:
    old = await hooked(service, receiver)
    new = await rotate_webhook_secret(service.catalog, "acme", keep_old=True)
    forget_policies(service)
    await raw(service)
    newest = await rotate_webhook_secret(service.catalog, "acme", keep_old=False)
    forget_policies(service)
    await raw(service)
    first, second = receiver.messages
    assert first.signed_with(new)
    assert first.signed_with(old)
    assert second.signed_with(newest)
    assert not second.signed_with(new)


async def test_the_tenant_s_types_and_sizes_hold_against_client_and_app(
    service: Service, receiver: Receiver
) -> None:
    await hooked(service, receiver)
    await set_policy(service, content_types="image/*", size_max_bytes=6000)
    assert (await raw(service, **{"Content-Type": "text/html"}))[0] == 415
    assert receiver.messages == []
    receiver.says(200, {"allow": True, "content_type": "text/html"})
    assert (await raw(service))[1]["code"] == "type_not_allowed"
    assert len(receiver.messages) == 1


async def test_a_repeated_idempotency_key_is_answered_without_asking(
    service: Service, receiver: Receiver
) -> None:
    await hooked(service, receiver)
    assert (await raw(service, **{"Idempotency-Key": "k"}))[0] == 201
    receiver.says(200, {"allow": False})
    assert (await raw(service, **{"Idempotency-Key": "k"}))[0] == 200
    assert len(receiver.messages) == 1


async def test_the_same_final_given_again_is_answered_without_asking(
    start: Starter, receiver: Receiver, sql: asyncpg.Connection
) -> None:
    """Nothing is created: neither the app nor a limit has a say in it, finished or not."""
    service = await start(uploads={"open_max_per_tenant": 3})
    await hooked(service, receiver)
    headers = {**service.tus, "Upload-Length": "5", "Upload-Concat": "partial"}
    parts = []
    for _ in range(2):
        answer = await service.client.post("/v1/uploads", headers=headers)
        parts.append(answer.headers["Location"])
    final = {**service.tus, "Upload-Concat": f"final;{' '.join(parts)}"}
    first = await service.client.post("/v1/uploads", headers=final)
    assert first.status == 201
    assert len(receiver.messages) == 3
    receiver.says(200, {"allow": False})
    await service.uploads.open.count()
    for body in (None, b"hello"):
        if body is not None:
            for part in parts:
                assert await patch(service, part, 0, body) == (204, "5")
        again = await service.client.post("/v1/uploads", headers=final)
        assert (again.status, again.headers["Location"]) == (201, first.headers["Location"])
    assert len(receiver.messages) == 3
    assert await sql.fetchval("SELECT count(*) FROM objects") == 1
    other = {**service.tus, "Upload-Concat": f"final;{parts[0]}"}
    assert (await service.client.post("/v1/uploads", headers=other)).status == 403
