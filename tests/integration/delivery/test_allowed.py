"""INV-10: a live object of the tenant allows a read, nothing else; a delete is told at once."""

import asyncio

import pytest

from mediastore.app_keys import CATALOG
from mediastore.catalog.tenants import list_api_keys, revoke_api_key
from mediastore.clock import SystemClock
from mediastore.delivery.allowed import AllowedReads
from mediastore.delivery.keys import DELIVERY
from mediastore.settings import DeliverySettings, Settings
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Connection, Service, bearer, running, until, upload


async def answer(service: Service, url: str, key: str | None = None) -> tuple[int, bytes]:
    async with service.client.get(url, headers=bearer(key) if key else {}) as response:
        return response.status, await response.read()


async def test_who_may_read_an_objects_content(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.acme, b"secret")
    url = made["links"]["content"]
    assert await answer(service, url, keys.acme) == (200, b"secret")
    stranger = await answer(service, url, keys.other)
    nothing = "/v1/objects/00000000-0000-7000-8000-000000000000/content"
    unknown = await answer(service, nothing, keys.other)
    assert stranger == unknown
    assert stranger[0] == 404
    assert (await answer(service, url))[0] == 401
    assert (await answer(service, url, "ms_wrong"))[0] == 401
    assert (await answer(service, "/v1/objects/nonsense/content", keys.acme))[0] == 404


async def test_missing_and_wrong_keys_are_told_the_same(service: Service) -> None:
    async with service.client.get("/v1/objects") as missing:
        first = await missing.json()
        assert missing.headers["WWW-Authenticate"].startswith("Bearer")
    for value in ("Bearer ms_wrong", "Basic abc", "Bearer ", "bearer", f"Bearer {'x' * 5000}"):
        async with service.client.get("/v1/objects", headers={"Authorization": value}) as wrong:
            assert wrong.status == 401
            assert await wrong.json() == first


async def test_a_hash_gives_nothing(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.acme, b"secret")
    blob = made["blob"]
    unknown = await answer(service, f"/media/acme/{'0' * 64}/a.jpg")
    for url, key in (
        (f"/media/acme/{blob}/a.jpg", None),
        (f"/media/other/{blob}/a.jpg", None),
        (f"/media/public/{blob}/a.jpg", None),
        (f"/media/nobody/{blob}/a.jpg", None),
        (f"/media/acme/{blob}/a.jpg", keys.other),
        (f"/media/other/{blob}/a.jpg", keys.other),
        (f"/media/acme/{blob.upper()}/a.jpg", keys.acme),
    ):
        assert await answer(service, url, key) == unknown
    assert unknown[0] == 404
    assert await answer(service, f"/media/acme/{blob}/a.jpg", keys.acme) == (200, b"secret")
    wrong = await answer(service, f"/media/acme/{blob}/a.jpg", "ms_wrong")
    assert wrong[0] == 401
    assert wrong == await answer(service, f"/media/acme/{'0' * 64}/a.jpg", "ms_wrong")


async def test_a_public_tenants_blobs_are_open_and_cacheable(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.public, b"hello")
    async with service.client.get(made["links"]["media"]) as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    private = await upload(service, keys.acme, b"hello")
    url = private["links"]["media"]
    async with service.client.get(url, headers=bearer(keys.acme)) as response:
        assert response.headers["Cache-Control"].startswith("private, ")


async def test_a_delete_here_and_there_is_told_at_once(
    settings: Settings, keys: Keys, service: Service
) -> None:
    """allowed_cache_seconds is 60 here: only notifications make a replica forget in time."""
    made = await upload(service, keys.public, b"gone soon")
    again = await upload(service, keys.public, b"gone soon")
    urls = made["links"]["media"], made["links"]["content"]
    async with running(settings) as replica:
        for asked in (service, replica):
            for url in urls:
                assert (await answer(asked, url, keys.public))[0] == 200
        await _delete(service, made["id"], keys.public)
        assert (await answer(service, urls[1], keys.public))[0] == 404
        await until(lambda: _is(replica, urls[1], keys.public, 404))
        # The other object of the same blob still allows the blob.
        assert (await answer(replica, urls[0]))[0] == 200
        await _delete(service, again["id"], keys.public)
        assert (await answer(service, urls[0]))[0] == 404
        await until(lambda: _is(replica, urls[0], keys.public, 404))
        headers = bearer(keys.public)
        async with service.client.post(f"/v1/objects/{made['id']}/restore", headers=headers):
            pass
        assert await answer(replica, urls[0]) == (200, b"gone soon")


async def test_without_notifications_nothing_is_believed(
    keys: Keys, service: Service, connection: Connection
) -> None:
    made = await upload(service, keys.public, b"hello")
    url = made["links"]["media"]
    await until(lambda: _believed(service, connection, url))
    # Deleted without a word: believed until the connection that would have told is lost.
    await connection.execute("UPDATE objects SET deleted_at = now(), purge_at = now()")
    assert (await answer(service, url))[0] == 200
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'mediastore listen%' AND datname = current_database()"
    )
    await until(lambda: _is(service, url, None, 404))
    # It comes back by itself, and then answers are believed again.
    await connection.execute("UPDATE objects SET deleted_at = NULL, purge_at = NULL")
    await until(lambda: _believed(service, connection, url))


async def test_an_answer_that_a_delete_has_overtaken_is_not_believed(
    keys: Keys, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await upload(service, keys.public, b"hello")
    allowed = AllowedReads(
        service.app[CATALOG], SystemClock(), DeliverySettings(allowed_cache_seconds=60)
    )
    allowed.listening()
    asked, go = asyncio.Event(), asyncio.Event()
    fetch_row = service.app[CATALOG].fetch_row

    async def slow(*arguments: object) -> object:
        row = await fetch_row(*arguments)  # type: ignore[arg-type]
        asked.set()
        await go.wait()
        return row

    monkeypatch.setattr(service.app[CATALOG], "fetch_row", slow)
    reading = asyncio.create_task(allowed.object("public", made["id"]))
    await asked.wait()
    monkeypatch.undo()
    await _delete(service, made["id"], keys.public)
    allowed.notified(f"public {made['id']} {made['blob']}")
    go.set()
    assert await reading is not None  # it began before the delete
    assert await allowed.object("public", made["id"]) is None


async def test_a_revoked_key_stops_working(
    settings: Settings, keys: Keys, service: Service
) -> None:
    (key,) = await list_api_keys(service.app[CATALOG], "acme")
    await revoke_api_key(service.app[CATALOG], key.id)
    assert (await answer(service, "/v1/objects", keys.acme))[0] == 401


async def _is(service: Service, url: str, key: str | None, status: int) -> bool:
    return (await answer(service, url, key))[0] == status


async def _believed(service: Service, connection: Connection, url: str) -> bool:
    """Is the answer for `url` remembered? Asks twice."""
    allowed = service.app[DELIVERY].allowed
    await answer(service, url)
    return bool(allowed._believed)


async def _delete(service: Service, id_: str, key: str) -> None:
    async with service.client.delete(f"/v1/objects/{id_}", headers=bearer(key)) as response:
        assert response.status == 200
