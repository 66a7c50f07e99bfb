"""The whole service: what happens through its URLs is told to the app."""

from pathlib import Path

import asyncpg

from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import change_tenant
from mediastore.clock import SystemClock
from mediastore.settings import Settings
from tests.integration.service import (
    Service,
    bearer,
    make_tenant,
    running,
    settings_on,
    until,
    upload,
)
from tests.receiver import Receiver

EVENTS = {"poll_seconds": 0.01}


async def with_webhook(settings: Settings, receiver: Receiver) -> tuple[str, str]:
    """The tenant's key, and the secret that messages are signed with."""
    key = await make_tenant(settings, "acme")
    async with open_catalog(settings.catalog, SystemClock()) as catalog:
        secret = await change_tenant(catalog, "acme", {"webhook_url": receiver.url})
    assert secret is not None
    return key, secret


async def act(service: Service, key: str) -> str:
    """An object that is made, deleted and restored; an upload that is given up."""
    made = await upload(service, key, b"hello", name="a.txt")
    await service.client.delete(f"/v1/objects/{made['id']}", headers=bearer(key))
    await service.client.post(f"/v1/objects/{made['id']}/restore", headers=bearer(key))
    tus = bearer(key) | {"Tus-Resumable": "1.0.0"}
    begun = await service.client.post("/v1/uploads", headers=tus | {"Upload-Length": "9"})
    await service.client.delete(begun.headers["Location"], headers=tus)
    id_: str = made["id"]
    return id_


async def test_the_app_is_told(dsn: str, tmp_path: Path, receiver: Receiver) -> None:
    settings = settings_on(dsn, tmp_path, events=EVENTS)
    key, secret = await with_webhook(settings, receiver)
    async with running(settings) as service:
        id_ = await act(service, key)
        await until(lambda: len(receiver.messages) == 4)
        await until(lambda: service.sample("events_attempts_total", outcome="delivered") == 4)
    kinds = {message.document["type"]: message.document["data"] for message in receiver.messages}
    assert kinds.keys() == {
        "object.created",
        "object.deleted",
        "object.restored",
        "upload.terminated",
    }
    assert kinds["object.created"]["id"] == id_
    assert kinds["object.created"]["name"] == "a.txt"
    assert all(message.signed_with(secret) for message in receiver.messages)


async def test_a_process_that_does_not_deliver_leaves_it_to_others(
    dsn: str, tmp_path: Path, receiver: Receiver, connection: asyncpg.Connection
) -> None:
    settings = settings_on(dsn, tmp_path, events=EVENTS | {"deliver": False})
    key, _ = await with_webhook(settings, receiver)
    async with running(settings) as service:
        await act(service, key)
    assert receiver.messages == []
    assert await connection.fetchval("SELECT count(*) FROM events WHERE attempts = 0") == 4
    async with running(settings_on(dsn, tmp_path, events=EVENTS)):
        await until(lambda: len(receiver.messages) == 4)
