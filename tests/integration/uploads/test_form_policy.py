"""What a tenant's policy and its app say holds for every file of a form, small or large, and for
what is pulled.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from mediastore.uploads.pull import PULL_TYPE
from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.policies import set_policy
from tests.integration.uploads.test_form import Part, check_exact, encoded, send
from tests.integration.uploads.test_pull import FakeSource, answer, source
from tests.integration.uploads.test_tus import content
from tests.receiver import Receiver, receiving
from tests.samples import png

__all__ = ["source"]  # a fixture

LARGE = content(30_000)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        opened.says(200, {"allow": True})
        yield opened


async def test_the_app_is_asked_of_every_file(
    service: Service, receiver: Receiver, sql: asyncpg.Connection
) -> None:
    await set_policy(service, before_create_url=receiver.url)
    parts: list[Part] = [("owner", None, b"ann"), ("f", "a", b"x"), ("f", "b", LARGE)]
    parts += [("f", "c", b"y"), ("f", "d", b"z")]
    status, told = await send(service, encoded(*parts))
    assert status == 201
    asked = {
        message.document["data"]["id"]: message.document["data"] for message in receiver.messages
    }
    made = [item["object"] for item in told["results"]]
    assert asked.keys() == {each["id"] for each in made}
    assert [asked[each["id"]]["name"] for each in made] == ["a", "b", "c", "d"]
    assert [asked[each["id"]]["size"] for each in made] == [1, None, 1, 1]
    assert {each["protocol"] for each in asked.values()} == {"form"}
    assert {each["client_address"] for each in asked.values()} == {"127.0.0.1"}
    await check_exact(service, sql)


async def test_what_the_app_says_holds_for_small_and_large_files(
    service: Service, receiver: Receiver
) -> None:
    await set_policy(service, before_create_url=receiver.url)
    receiver.says(200, {"allow": True, "owner": "somebody", "metadata": {"by": "app"}})
    parts: list[Part] = [("f", "a", b"x"), ("f", "b", LARGE), ("f", "c", b"y")]
    status, told = await send(service, encoded(*parts))
    assert status == 201
    for item in told["results"]:
        assert (item["object"]["owner"], item["object"]["metadata"]) == ("somebody", {"by": "app"})


async def test_what_the_app_denies_is_not_made(
    service: Service, receiver: Receiver, sql: asyncpg.Connection
) -> None:
    await set_policy(service, before_create_url=receiver.url)
    receiver.says(200, {"allow": False, "reason": "no"})
    parts: list[Part] = [("f", "a", b"x"), ("f", "b", LARGE), ("f", "c", b"y")]
    status, told = await send(service, encoded(*parts))
    assert (status, told["code"], told["detail"]) == (403, "denied_by_app", "no")
    assert [item["problem"]["code"] for item in told["results"]] == ["denied_by_app"] * 3
    assert await sql.fetchval("SELECT count(*) FROM blobs") == 0
    assert not service.store.calls
    await check_exact(service, sql)


async def test_an_app_that_fails_ends_the_form(
    service: Service, receiver: Receiver, sql: asyncpg.Connection
) -> None:
    await set_policy(service, before_create_url=receiver.url)
    receiver.says(500, {})
    parts: list[Part] = [("f", "a", b"x"), ("f", "b", b"y")]
    status, told = await send(service, encoded(*parts))
    assert (status, told["code"]) == (503, "hook_unavailable")
    await check_exact(service, sql)


async def test_types_that_a_tenant_does_not_take(service: Service, sql: asyncpg.Connection) -> None:
    await set_policy(service, content_types=["image/png"])
    body = encoded(("f", "a", b"x"), ("f", "b", LARGE), ("f", "c", b"y"), ("f", "d", LARGE))
    first, second = body.split(b'filename="c"')
    status, told = await send(
        service, first + b'filename="c"' + second.replace(b"image/png", b"text/plain")
    )
    assert status == 207
    assert [item["status"] for item in told["results"]] == [201, 201, 415, 415]
    await check_exact(service, sql)


async def test_content_is_looked_at(service: Service, sql: asyncpg.Connection) -> None:
    await set_policy(service, type_mismatch="refuse")
    parts: list[Part] = [
        ("f", "a", png()),
        ("f", "b", b"<html><script>alert(1)</script></html>"),
        ("f", "c", png() + LARGE),
        ("f", "d", b"<html><script>alert(1)</script></html>" + b" " * 30_000),
    ]
    status, told = await send(service, encoded(*parts))
    assert status == 207
    codes = [item.get("problem", {}).get("code") for item in told["results"]]
    assert codes == [None, "type_mismatch", None, "type_mismatch"]
    await check_exact(service, sql)


async def test_a_tenant_s_own_size_limit(service: Service, sql: asyncpg.Connection) -> None:
    await set_policy(service, size_max_bytes=500)
    for size in (501, 30_000):
        status, told = await send(service, encoded(("f", "a", b"x"), ("f", "b", content(size))))
        assert (status, told["code"]) == (413, "too_large")
    await check_exact(service, sql)


async def test_every_object_of_a_group_is_told(service: Service, sql: asyncpg.Connection) -> None:
    await set_policy(service, webhook_url="https://app.example.com/hook")
    parts: list[Part] = [("f", f"{number}", content(100, number)) for number in range(20)]
    _, told = await send(service, encoded(*parts))
    events = await sql.fetch("SELECT kind, payload ->> 'id' AS id FROM events")
    assert {event["kind"] for event in events} == {"object.created"}
    assert {event["id"] for event in events} == {item["object"]["id"] for item in told["results"]}


async def test_pulls_are_asked_of_as_well(
    start: Starter, source: FakeSource, receiver: Receiver
) -> None:
    pull = {"hosts": ["127.0.0.1"], "ports": [source.port]}
    service = await start(pull={**pull, "allow_http": True, "allow_private_addresses": True})
    await set_policy(service, before_create_url=receiver.url)
    source.answers = [answer(LARGE, "Content-Type: image/png")]
    headers = {**service.bearer, "Content-Type": PULL_TYPE}
    document = {"source": {"url": source.url()}, "name": "a"}
    sent = await service.client.post("/v1/objects", json=document, headers=headers)
    assert sent.status == 201
    (message,) = receiver.messages
    assert message.document["data"]["size"] == 30_000
    receiver.says(200, {"allow": False, "reason": "no"})
    sent = await service.client.post("/v1/objects", json=document, headers=headers)
    assert (sent.status, (await sent.json())["code"]) == (403, "denied_by_app")
