"""`/v1/objects` as JSON: read, list, change, trash, restore."""

from typing import Any
from uuid import UUID

import pytest

from mediastore.catalog.objects import Object, get_object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.queries import load_queries
from mediastore.objects import routes
from mediastore.settings import Settings
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Connection, Service, bearer, running, upload

UNKNOWN = "00000000-0000-7000-8000-000000000000"


async def call(
    service: Service, method: str, path: str, key: str, **options: Any
) -> tuple[int, dict[str, Any]]:
    async with service.client.request(method, path, headers=bearer(key), **options) as response:
        return response.status, await response.json()


async def test_reading_an_object(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.acme, b"hello", name="a/é b.jpg", owner="ann")
    status, found = await call(service, "GET", f"/v1/objects/{made['id']}", keys.acme)
    assert status == 200
    assert found == made
    assert found["size"] == 5
    assert found["name"] == "a/é b.jpg"
    assert found["owner"] == "ann"
    assert found["deleted_at"] is None
    assert found["links"]["media"].endswith(f"/media/acme/{found['blob']}/%C3%A9%20b.jpg")
    assert (await call(service, "GET", f"/v1/objects/{made['id']}", keys.other))[0] == 404
    assert (await call(service, "GET", f"/v1/objects/{UNKNOWN}", keys.acme))[0] == 404
    assert (await call(service, "GET", "/v1/objects/x", keys.acme))[0] == 404


async def test_an_object_whose_upload_is_finishing(
    keys: Keys, service: Service, connection: Connection
) -> None:
    await connection.execute(
        "INSERT INTO uploads (id, tenant, owner, name, content_type, metadata, protocol, state, "
        "epoch, created_at, touched_at, expires_at) "
        "VALUES ($1, 'acme', '', '', 'a/b', '{}', 'tus', 'finishing', 1, now(), now(), "
        "now() + interval '1 day')",
        UNKNOWN,
    )
    status, problem = await call(service, "GET", f"/v1/objects/{UNKNOWN}", keys.acme)
    assert (status, problem["code"]) == (409, "upload_finishing")
    status, problem = await call(service, "DELETE", f"/v1/objects/{UNKNOWN}", keys.acme)
    assert (status, problem["code"]) == (409, "upload_finishing"), "it will be there"
    assert (await call(service, "GET", f"/v1/objects/{UNKNOWN}", keys.other))[0] == 404
    await connection.execute("UPDATE uploads SET state = 'open'")
    assert (await call(service, "GET", f"/v1/objects/{UNKNOWN}", keys.acme))[0] == 404


async def test_an_upload_that_becomes_an_object_while_it_is_looked_for(
    keys: Keys, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one or the other at every moment: no one who waits for it is told that it is gone."""
    made = await upload(service, keys.acme, b"hello")
    asked = 0

    async def not_yet(catalog: Catalog, tenant: str, id_: UUID) -> Object | None:
        nonlocal asked
        asked += 1
        return None if asked == 1 else await get_object(catalog, tenant, id_)

    monkeypatch.setattr(routes, "get_object", not_yet)
    assert await call(service, "GET", f"/v1/objects/{made['id']}", keys.acme) == (200, made)


@pytest.mark.parametrize("verb", ["change", "trash", "restore"])
async def test_an_object_that_changes_between_two_looks(
    keys: Keys, service: Service, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Made, restored or deleted in the moment after a request found none to work on: it works on
    that, and says nothing that was never so.
    """
    made = await upload(service, keys.acme, b"hello")
    url = f"/v1/objects/{made['id']}"
    if verb == "restore":
        assert (await call(service, "DELETE", url, keys.acme))[0] == 200
    work, tried = getattr(routes, f"{verb}_object"), 0

    async def too_early(*arguments: Any, **named: Any) -> Any:
        nonlocal tried
        tried += 1
        return None if tried == 1 else await work(*arguments, **named)

    monkeypatch.setattr(routes, f"{verb}_object", too_early)
    match verb:
        case "change":
            status, found = await call(service, "PATCH", url, keys.acme, json={"name": "new"})
            assert (status, found["name"]) == (200, "new")
        case "trash":
            status, found = await call(service, "DELETE", url, keys.acme)
            assert (status, found["deleted_at"] is None) == (200, False)
        case _:
            status, found = await call(service, "POST", f"{url}/restore", keys.acme)
            assert (status, found["deleted_at"]) == (200, None)
    assert (await call(service, "GET", url, keys.acme))[1] == found


async def test_a_listing_is_newest_first_in_pages_without_gaps(
    keys: Keys, service: Service
) -> None:
    made = [
        (await upload(service, keys.acme, b"x", owner="ann" if number % 3 else "bob"))["id"]
        for number in range(10)
    ]
    await upload(service, keys.other, b"x")

    async def listed(**query: str) -> list[str]:
        ids: list[str] = []
        while True:
            status, page = await call(service, "GET", "/v1/objects", keys.acme, params=query)
            assert status == 200
            assert len(page["objects"]) <= int(query["limit"])
            ids += [item["id"] for item in page["objects"]]
            if page["next_cursor"] is None:
                return ids
            query["cursor"] = page["next_cursor"]

    assert await listed(limit="3") == made[::-1]
    assert await listed(limit="5") == made[::-1]
    assert await listed(limit="10") == made[::-1]
    assert await listed(limit="2", owner="bob") == [made[9], made[6], made[3], made[0]]
    assert await listed(limit="2", owner="nobody") == []
    for id_ in made[:3]:
        await call(service, "DELETE", f"/v1/objects/{id_}", keys.acme)
    assert await listed(limit="2") == made[:2:-1]
    assert await listed(limit="2", trash="true") == made[2::-1]
    assert await listed(limit="2", trash="true", owner="bob") == [made[0]]


async def test_objects_made_meanwhile_do_not_shift_a_page(keys: Keys, service: Service) -> None:
    made = [(await upload(service, keys.acme, b"x"))["id"] for _ in range(4)]
    _, first = await call(service, "GET", "/v1/objects?limit=2", keys.acme)
    await upload(service, keys.acme, b"x")
    cursor = first["next_cursor"]
    _, second = await call(service, "GET", f"/v1/objects?limit=2&cursor={cursor}", keys.acme)
    assert [item["id"] for item in second["objects"]] == made[1::-1]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "bad_request"),
        ("limit=1001", "bad_request"),
        ("limit=-1", "bad_request"),
        ("limit=x", "bad_request"),
        ("limit=٣", "bad_request"),
        ("trash=yes", "bad_request"),
        ("ownr=ann", "bad_request"),
        ("owner=%00", "bad_request"),
        ("cursor=", "bad_cursor"),
        ("cursor=abc", "bad_cursor"),
        (f"cursor={'A' * 32}", "bad_cursor"),
        (f"cursor={'é' * 32}", "bad_cursor"),
    ],
)
async def test_a_listing_that_cannot_be(
    keys: Keys, service: Service, query: str, code: str
) -> None:
    status, problem = await call(service, "GET", f"/v1/objects?{query}", keys.acme)
    assert (status, problem["code"]) == (400, code)


async def test_a_cursor_belongs_to_its_listing(keys: Keys, service: Service) -> None:
    for _ in range(3):
        await upload(service, keys.acme, b"x")
    _, page = await call(service, "GET", "/v1/objects?limit=1", keys.acme)
    cursor = page["next_cursor"]
    for query, key in (("trash=true", keys.acme), ("owner=ann", keys.acme), ("", keys.other)):
        path = f"/v1/objects?{query}&cursor={cursor}"
        assert (await call(service, "GET", path, key))[1]["code"] == "bad_cursor"


async def test_changing_an_object(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.acme, b"hello", name="old.jpg")
    path = f"/v1/objects/{made['id']}"
    async with service.client.get(made["links"]["content"], headers=bearer(keys.acme)) as response:
        assert "old.jpg" in response.headers["Content-Disposition"]
    change = {"name": "new.jpg", "metadata": {"a": [1, "é"]}, "owner": "ann"}
    status, changed = await call(service, "PATCH", path, keys.acme, json=change)
    assert status == 200
    assert {name: changed[name] for name in change} == change
    assert changed["blob"] == made["blob"]
    async with service.client.get(made["links"]["content"], headers=bearer(keys.acme)) as response:
        assert "new.jpg" in response.headers["Content-Disposition"]
    status, changed = await call(service, "PATCH", path, keys.acme, json={"metadata": {}})
    assert (changed["name"], changed["metadata"]) == ("new.jpg", {})
    assert (await call(service, "PATCH", path, keys.other, json=change))[0] == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b"\xff", 400, "bad_request"),
        (b"[" * 5000, 400, "bad_request"),
        (b'{"size": 1}', 400, "bad_request"),
        (b'{"name": 1}', 400, "bad_request"),
        (b'{"name": "a\\u0000"}', 400, "bad_request"),
        (b'{"name": "\\ud800"}', 400, "bad_request"),
        (b'{"name": "%s"}' % (b"x" * 1025), 400, "bad_request"),
        (b'{"metadata": []}', 400, "bad_metadata"),
        (b'{"metadata": null}', 400, "bad_metadata"),
        (b'{"metadata": {"a": "\\u0000"}}', 400, "bad_metadata"),
        (b'{"metadata": {"a": NaN}}', 400, "bad_metadata"),
        (b'{"metadata": {"a": 1e999}}', 400, "bad_metadata"),
        (b'{"metadata": {"a": "\\udfff"}}', 400, "bad_metadata"),
        (b'{"metadata": {"a": "%s"}}' % (b"x" * 9000), 400, "bad_metadata"),
        (b'{"name": "%s"}' % (b"x" * 100_000), 413, "too_large"),
    ],
)
async def test_a_change_that_cannot_be(
    keys: Keys, service: Service, body: bytes, status: int, code: str
) -> None:
    made = await upload(service, keys.acme, b"hello")
    headers = bearer(keys.acme) | {"Content-Type": "application/json"}
    path = f"/v1/objects/{made['id']}"
    async with service.client.patch(path, data=body, headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (status, code)
    assert (await call(service, "GET", path, keys.acme))[1] == made


async def test_a_change_needs_json(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.acme, b"hello")
    path = f"/v1/objects/{made['id']}"
    status, problem = await call(service, "PATCH", path, keys.acme, data=b"{}")
    assert (status, problem["code"]) == (415, "unsupported_media_type")


async def test_trash_and_restore(keys: Keys, service: Service, connection: Connection) -> None:
    made = await upload(service, keys.acme, b"hello")
    path = f"/v1/objects/{made['id']}"
    assert (await call(service, "POST", f"{path}/restore", keys.acme))[0] == 409
    assert (await call(service, "DELETE", path, keys.other))[0] == 404
    status, trashed = await call(service, "DELETE", path, keys.acme)
    assert status == 200
    assert trashed["deleted_at"] < trashed["purge_at"]
    assert (await call(service, "DELETE", path, keys.acme))[1] == trashed  # not moved further away
    assert (await call(service, "GET", path, keys.acme))[1] == trashed
    assert (await call(service, "PATCH", path, keys.acme, json={"name": "x"}))[0] == 409
    assert (await call(service, "GET", f"{path}/content", keys.acme))[0] == 404
    assert (await call(service, "POST", f"{path}/restore", keys.other))[0] == 404
    assert await call(service, "POST", f"{path}/restore", keys.acme) == (200, made)
    async with service.client.get(f"{path}/content", headers=bearer(keys.acme)) as response:
        assert await response.read() == b"hello"
    await call(service, "DELETE", path, keys.acme)
    await connection.execute("UPDATE objects SET purge_at = now() - interval '1 second'")
    status, problem = await call(service, "POST", f"{path}/restore", keys.acme)
    assert (status, problem["code"]) == (410, "gone")
    for method, gone in (("POST", f"/v1/objects/{UNKNOWN}/restore"), ("DELETE", path[:-1] + "x")):
        assert (await call(service, method, gone, keys.acme))[0] == 404


async def test_trash_time_is_the_tenants_by_the_databases_clock(
    keys: Keys, service: Service, connection: Connection
) -> None:
    await connection.execute("UPDATE tenants SET trash_seconds = 3600 WHERE id = 'acme'")
    await connection.execute(
        "CREATE OR REPLACE FUNCTION catalog_clock() RETURNS timestamptz LANGUAGE sql VOLATILE "
        "AS $$SELECT timestamptz '2100-01-01 00:00:00Z'$$"
    )
    made = await upload(service, keys.acme, b"hello")
    _, trashed = await call(service, "DELETE", f"/v1/objects/{made['id']}", keys.acme)
    assert trashed["deleted_at"] == "2100-01-01T00:00:00Z"
    assert trashed["purge_at"] == "2100-01-01T01:00:00Z"


async def test_listings_read_by_index(keys: Keys, service: Service, connection: Connection) -> None:
    """No listing sorts, and none reads rows that it does not show."""
    await upload(service, keys.acme, b"x")
    await connection.execute(
        "INSERT INTO objects (id, tenant, owner, name, blob, content_type, size, metadata, "
        "created_at, deleted_at, purge_at) "
        "SELECT gen_random_uuid(), 'acme', (n % 500)::text, '', blob, 'a/b', 1, '{}', now(), d, d"
        " FROM objects, generate_series(1, 20000) AS n,"
        " LATERAL (SELECT CASE WHEN n % 100 = 0 THEN now() END AS d) AS deleted"
    )
    await connection.execute("ANALYZE objects")
    for query, arguments in (
        ("object_list", ("acme", None, 10)),
        ("object_list_of_owner", ("acme", None, 10, "7")),
        ("object_list_trash", ("acme", None, 10)),
    ):
        statement = load_queries()[query]
        plan = "\n".join(
            row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments)
        )
        assert "Index" in plan
        assert "Sort" not in plan
        assert "Seq Scan" not in plan


async def test_json_that_never_comes_whole(settings: Settings, keys: Keys) -> None:
    http = settings.http.model_copy(update={"body_idle_timeout_seconds": 0.05})
    async with running(settings.model_copy(update={"http": http})) as service:
        made = await upload(service, keys.acme, b"hello")
        answer = await service.raw(
            f"PATCH /v1/objects/{made['id']} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {keys.acme}\r\nContent-Type: application/json\r\n"
            'Content-Length: 20\r\n\r\n{"name":'.encode()
        )
    assert b"408 Request Timeout" in answer
    assert b'"code": "request_timeout"' in answer
