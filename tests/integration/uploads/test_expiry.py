"""When uploads expire: pushed by work or fixed, by tenant; told in every answer, kept to in SQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from mediastore.catalog.collection import Expired, expire_uploads
from mediastore.catalog.uploads import get_upload
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.policies import set_policy
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, offset_of, patch

HOUR = 3600
EXPIRES = "SELECT expires_at FROM uploads"
SOON = timedelta(minutes=5)  # far more than a test takes, far less than any expiry here


def about(moment: datetime, seconds: float) -> bool:
    """Is it so many seconds from now, give or take?"""
    return abs(moment - datetime.now(UTC) - timedelta(seconds=seconds)) < SOON


async def age(sql: asyncpg.Connection, seconds: float) -> None:
    """As if the upload had been made, and last worked on, so much earlier."""
    await sql.execute(
        "ALTER TABLE uploads DISABLE TRIGGER uploads_keep_fixed_expiry;"
        f"UPDATE uploads SET expires_at = expires_at - make_interval(secs => {seconds});"
        "ALTER TABLE uploads ENABLE TRIGGER uploads_keep_fixed_expiry"
    )


async def told(service: Service, method: str, url: str, **arguments: Any) -> datetime:
    answer = await service.client.request(method, url, **arguments)
    assert answer.status in (200, 201, 204), await answer.text()
    return parsedate_to_datetime(answer.headers["Upload-Expires"])


async def answers(service: Service, sql: asyncpg.Connection) -> list[datetime]:
    """What each kind of answer says, each checked against the row."""
    moments = []

    async def check(method: str, url: str, **arguments: Any) -> None:
        moment = await told(service, method, url, **arguments)
        row = await sql.fetchval(f"{EXPIRES} ORDER BY created_at DESC LIMIT 1")
        assert timedelta(0) <= row - moment < timedelta(seconds=2)
        moments.append(moment)

    headers = {**service.tus, "Upload-Length": "30000"}
    await check("POST", "/v1/uploads", headers=headers)
    await check("POST", "/v1/uploads", headers=headers | PATCH_TYPE, data=content(10_000))
    row = await sql.fetchval("SELECT id FROM uploads ORDER BY created_at DESC LIMIT 1")
    url = f"/v1/uploads/{row}"
    await check("HEAD", url, headers=service.tus)
    await age(sql, 1000)
    headers = service.tus | PATCH_TYPE | {"Upload-Offset": "10000"}
    await check("PATCH", url, headers=headers, data=content(10_000))
    await check("HEAD", url, headers=service.tus)
    return moments


async def test_work_pushes_the_expiry(service: Service, sql: asyncpg.Connection) -> None:
    await set_policy(service, upload_expires_seconds=HOUR)
    assert all(about(moment, HOUR) for moment in await answers(service, sql))


async def test_a_fixed_expiry_is_never_pushed(service: Service, sql: asyncpg.Connection) -> None:
    await set_policy(service, upload_expires_seconds=HOUR, upload_expiry="fixed")
    moments = await answers(service, sql)
    assert all(about(moment, HOUR) for moment in moments[:3])
    assert all(about(moment, HOUR - 1000) for moment in moments[3:])


async def test_settings_hold_for_tenants_without_a_policy(
    start: Starter, sql: asyncpg.Connection
) -> None:
    service = await start(uploads={"expires_seconds": 2 * HOUR, "expiry": "fixed"})
    await create(service, 10)
    row = await sql.fetchrow("SELECT expires_at, expiry_fixed FROM uploads")
    assert about(row["expires_at"], 2 * HOUR)
    assert row["expiry_fixed"]


@pytest.mark.parametrize("expiry", ["sliding", "fixed"])
async def test_an_expired_upload_is_gone_before_it_is_swept(
    service: Service, sql: asyncpg.Connection, expiry: str
) -> None:
    await set_policy(service, upload_expires_seconds=HOUR, upload_expiry=expiry)
    url = await create(service, 20_000)
    await patch(service, url, 0, content(10_000))
    await age(sql, HOUR + 1)
    assert (await service.client.head(url, headers=service.tus)).status == 404
    assert (await patch(service, url, 10_000, content(10_000)))[0] == 404
    expired = await expire_uploads(service.catalog, 10)
    assert (expired.uploads, expired.bytes) == (1, 10_000)
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    assert await expire_uploads(service.catalog, 10) == Expired(0, 0, 0)


@pytest.mark.parametrize(("expiry", "status"), [("sliding", 204), ("fixed", 409)])
async def test_work_under_way_saves_an_upload_unless_its_time_is_fixed(
    service: Service, sql: asyncpg.Connection, expiry: str, status: int
) -> None:
    """Its time is over while a batch is being stored; nobody has swept it yet."""
    await set_policy(service, upload_expires_seconds=HOUR, upload_expiry=expiry)
    url = await create(service, 20_000)
    putting = Fault(gate=asyncio.Event())
    service.store.script("put", putting)
    patching = asyncio.create_task(patch(service, url, 0, content(10_000)))
    await putting.reached.wait()
    await age(sql, HOUR + 1)
    assert putting.gate is not None
    putting.gate.set()
    assert (await patching)[0] == status
    assert (await service.client.head(url, headers=service.tus)).status == (
        200 if status == 204 else 404
    )
    expired = await expire_uploads(service.catalog, 10)
    assert expired.uploads == (0 if status == 204 else 1)
    if status == 204:
        assert await offset_of(service, url) == 10_000


async def test_what_was_whole_in_time_is_finished(
    service: Service, sql: asyncpg.Connection
) -> None:
    """A finishing upload's job shows life, and that pushes even a fixed expiry."""
    await set_policy(service, upload_expires_seconds=HOUR, upload_expiry="fixed")
    url = await create(service, 20_000)
    await patch(service, url, 0, content(10_000))
    await sql.execute("UPDATE uploads SET length = 10000, state = 'finishing'")
    await age(sql, HOUR - 60)
    upload = await sql.fetchrow("SELECT id, epoch FROM uploads")
    await service.catalog.fetch_value("upload_finishing_touch", upload["id"], upload["epoch"], HOUR)
    assert about(await sql.fetchval(EXPIRES), HOUR)
    assert UUID(url.rpartition("/")[2]) == upload["id"]


async def test_what_never_became_an_object_is_counted(start: Starter) -> None:
    service = await start(uploads={"batch_max_bytes": 64 * 1024})

    def counted(how: str) -> tuple[float | None, float | None]:
        get = service.app_metric
        return get("uploads_ended_total", how=how), get("uploads_unfinished_bytes_total", how=how)

    url = await create(service, 20_000)
    await patch(service, url, 0, content(10_000))
    assert (await service.client.delete(url, headers=service.tus)).status == 204
    assert counted("terminated") == (1, 10_000)

    wrong = await service.client.post(
        "/v1/objects?blake3=" + "0" * 64, data=content(5000), headers=service.bearer
    )
    assert wrong.status == 400
    assert counted("abandoned") == (0, 0)  # it was never stored

    await set_policy(service, size_max_bytes=3_000_000)
    too_much = await service.client.post(
        "/v1/objects", data=pieces(4_000_000), headers=service.bearer
    )
    assert too_much.status == 413
    ended, lost_bytes = counted("abandoned")
    assert ended == 1
    assert lost_bytes is not None
    assert 0 < lost_bytes <= 3_000_000


async def pieces(size: int) -> Any:
    """A body of unknown length, so that it is refused only when it has come too far."""
    for start in range(0, size, 10_000):
        yield content(10_000, start)


@pytest.mark.parametrize("expiry", ["sliding", "fixed"])
async def test_who_asks_for_a_final_that_waits_pushes_nothing(
    service: Service, sql: asyncpg.Connection, expiry: str
) -> None:
    """It lives as long as the part that was worked on last; asking is no work."""
    await set_policy(service, upload_expires_seconds=HOUR, upload_expiry=expiry)
    pieces_of_it = [content(20_000, seed) for seed in (1, 2)]
    parts = [await create(service, 20_000, **{"Upload-Concat": "partial"}) for _ in pieces_of_it]
    concat = {**service.tus, "Upload-Concat": f"final;{' '.join(parts)}"}
    answer = await service.client.post("/v1/uploads", headers=concat)
    final = answer.headers["Location"]
    await age(sql, 1000)

    async def moments() -> list[datetime]:
        rows = await sql.fetch("SELECT expires_at FROM uploads ORDER BY id")
        return [row["expires_at"] for row in rows]

    before = await moments()
    for _ in range(2):
        assert (await service.client.head(final, headers=service.tus)).status == 200
    assert await moments() == before

    assert await patch(service, parts[1], 0, pieces_of_it[1]) == (204, "20000")
    assert (await service.client.head(final, headers=service.tus)).status == 200
    first, second, whole = await moments()
    assert (first, whole) == (before[0], second if expiry == "sliding" else before[2])
    assert about(second, HOUR if expiry == "sliding" else HOUR - 1000)

    await age(sql, 1000)
    assert await patch(service, parts[0], 0, pieces_of_it[0]) == (204, "20000")
    assert (await service.client.head(final, headers=service.tus)).status == 200
    assert await sql.fetchval("SELECT count(*) FROM objects") == 1


async def test_an_upload_that_is_saved_while_it_is_asked_for_is_taken_all_the_same(
    service: Service, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had expired when it was to be taken, and an older request's intent has pushed that since:
    two requests with one epoch would write over each other (INV-8).
    """
    await set_policy(service, upload_expires_seconds=HOUR)
    url = await create(service, 20_000)
    await patch(service, url, 0, content(10_000))
    await age(sql, HOUR + 1)
    older = await sql.fetchval("SELECT epoch FROM uploads")

    async def saved_before(*arguments: Any) -> Any:
        await sql.execute("UPDATE uploads SET expires_at = now() + interval '1 hour'")
        return await get_upload(*arguments)

    monkeypatch.setattr("mediastore.uploads.service.get_upload", saved_before)
    assert await offset_of(service, url) == 10_000
    assert await sql.fetchval("SELECT epoch FROM uploads") != older
