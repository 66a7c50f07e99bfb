"""Events reach webhooks at least once, whatever receivers and processes do meanwhile."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from mediastore.catalog.collection import sweep
from mediastore.catalog.events import (
    claim_events,
    event_delivered,
    events_backlog,
    list_events,
    park_event,
    put_event_off,
    retry_events,
)
from mediastore.catalog.pool import Catalog
from mediastore.catalog.tenants import change_tenant, create_tenant
from tests.integration.events.conftest import TENANT, Deliver, record
from tests.integration.service import until
from tests.receiver import Receiver, receiving


async def waiting(sql: asyncpg.Connection) -> int:
    count: int = await sql.fetchval("SELECT count(*) FROM events")
    return count


async def none_waits(sql: asyncpg.Connection) -> None:
    async def none() -> bool:
        return await waiting(sql) == 0

    await until(none)


async def all_parked(sql: asyncpg.Connection, number: int) -> None:
    async def parked() -> bool:
        query = "SELECT count(*) FROM events WHERE parked_at IS NOT NULL"
        return bool(await sql.fetchval(query) == number)

    await until(parked)


async def test_a_message_is_signed_and_says_what_happened(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, secret: str, deliver: Deliver
) -> None:
    await record(catalog, 3)
    keys = {str(row["key"]) for row in await sql.fetch("SELECT key FROM events")}
    running = await deliver()
    await none_waits(sql)
    assert running.counted("delivered") == 3
    assert {message.headers["webhook-id"] for message in receiver.messages} == keys
    for message in receiver.messages:
        assert message.signed_with(secret)
        assert message.document.keys() == {"type", "timestamp", "data"}
        assert message.document["type"] == "test"
        assert message.document["data"]["tenant"] == TENANT
        age = datetime.now(UTC) - datetime.fromisoformat(message.document["timestamp"])
        assert abs(age.total_seconds()) < 300
    assert {message.document["data"]["n"] for message in receiver.messages} == {0, 1, 2}


async def test_a_receiver_that_fails_is_tried_again_with_the_same_message(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, secret: str, deliver: Deliver
) -> None:
    left = [500, 307, 429, 404]

    async def failing(_request: web.Request) -> web.Response:
        return web.Response(status=left.pop(0) if left else 204, headers={"Location": "/hook"})

    receiver.answer = failing
    await record(catalog)
    running = await deliver()
    await none_waits(sql)
    assert (running.counted("failed"), running.counted("delivered")) == (4, 1)
    assert len({message.body for message in receiver.messages}) == 1
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1
    assert all(message.signed_with(secret) for message in receiver.messages)


@pytest.mark.usefixtures("secret")
async def test_after_the_last_attempt_it_is_parked_until_somebody_asks(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.says(500)
    await record(catalog, 2)
    running = await deliver(attempts_max=3)
    await all_parked(sql, 2)
    assert len(receiver.messages) == 6
    assert (running.counted("failed"), running.counted("parked")) == (4, 2)
    first, second = await list_events(catalog, tenant=TENANT, parked=True, limit=10)
    assert (first.attempts, first.last_error) == (3, "the receiver answered 500")
    assert await list_events(catalog, tenant="other", parked=False, limit=10) == []

    receiver.says(200)
    assert await retry_events(catalog, tenant=None, key=first.key) == 1
    await until(lambda: running.counted("delivered") == 1)
    assert await retry_events(catalog, tenant=TENANT, key=None) == 1
    await none_waits(sql)
    assert receiver.messages[-1].headers["webhook-id"] == str(second.key)


@pytest.mark.usefixtures("secret")
async def test_a_receiver_that_wants_no_more_is_not_tried_again(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.says(410)
    await record(catalog)
    await deliver()
    await all_parked(sql, 1)
    assert len(receiver.messages) == 1


@pytest.mark.usefixtures("secret")
async def test_a_receiver_that_asks_for_time_gets_it(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.says(503, **{"Retry-After": "3000"})
    await record(catalog)
    running = await deliver(retry_delay_max_seconds=9000)
    await until(lambda: running.counted("failed") == 1)

    async def put_off() -> bool:
        error = await sql.fetchval("SELECT last_error FROM events")
        return error is not None

    await until(put_off)
    pause = await sql.fetchval("SELECT retry_at - now() FROM events")
    assert 2900 < pause.total_seconds() <= 3000


@pytest.mark.usefixtures("secret")
async def test_receivers_that_are_slow_gone_or_say_too_much(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, deliver: Deliver
) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    receiver.answer = endless  # a 200: what comes behind it is not read
    await record(catalog)
    running = await deliver(timeout_seconds=0.2, attempts_max=1)
    await none_waits(sql)
    assert running.counted("delivered") == 1

    receiver.gate = asyncio.Event()
    await record(catalog)
    await all_parked(sql, 1)
    await change_tenant(catalog, TENANT, {"webhook_url": "http://127.0.0.1:9/gone"})
    await record(catalog)
    await all_parked(sql, 2)
    errors = await sql.fetch("SELECT last_error FROM events ORDER BY id")
    assert errors[0]["last_error"] == "no answer within 0.2 s"
    assert "ClientConnectorError" in errors[1]["last_error"]


@pytest.mark.usefixtures("secret")
async def test_a_dead_receiver_holds_up_nobody_else(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.gate = asyncio.Event()
    await record(catalog, 50)
    await create_tenant(catalog, "lively")
    async with receiving() as other:
        await change_tenant(catalog, "lively", {"webhook_url": other.url})
        await record(catalog, 20, tenant="lively")
        await deliver(concurrency_max=5, tenant_concurrency_max=3)
        await until(lambda: len(other.messages) == 20)
        assert receiver.held_max == 3
        assert other.held_max <= 3
        receiver.gate.set()
        await none_waits(sql)
    assert len(receiver.messages) == 50
    assert receiver.held_max == 3


@pytest.mark.usefixtures("secret")
async def test_several_processes_share_the_work(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, deliver: Deliver
) -> None:
    await record(catalog, 100)
    for _ in range(3):
        await deliver()
    await none_waits(sql)
    assert len(receiver.messages) == 100
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 100


@pytest.mark.usefixtures("secret")
async def test_claims_of_a_process_that_died_come_back(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, deliver: Deliver
) -> None:
    """Before it sent, and after it sent: the second is delivered twice, with one id."""
    receiver.gate = asyncio.Event()
    await record(catalog)
    dying = await deliver()
    await until(lambda: receiver.held == 1)
    await dying.stop()
    receiver.gate.set()
    (event,) = await list_events(catalog, tenant=None, parked=False, limit=10)
    assert (event.attempts, event.last_error) == (1, None)
    assert event.retry_at > datetime.now(UTC)

    await deliver()
    await record(catalog)
    await until(lambda: len(receiver.messages) == 2)  # only the new one: the claim holds
    assert {m.headers["webhook-id"] for m in receiver.messages[:1]} == {str(event.key)}
    await sql.execute("UPDATE events SET retry_at = now()")  # the claim's time is over
    await none_waits(sql)
    ids = [message.headers["webhook-id"] for message in receiver.messages]
    assert ids.count(str(event.key)) == 2


async def claim(catalog: Catalog, seconds: float = 60) -> list[int]:
    events = await claim_events(catalog, limit=100, each=100, under_way={}, claim_seconds=seconds)
    return [event.id for event in events]


@pytest.mark.usefixtures("secret")
async def test_who_ends_a_claim_that_another_has_taken_over_changes_nothing(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    await record(catalog)
    (late,) = await claim_events(catalog, limit=1, each=1, under_way={}, claim_seconds=0)
    (now,) = await claim_events(catalog, limit=1, each=1, under_way={}, claim_seconds=60)
    assert (late.key, late.attempts, now.attempts) == (now.key, 1, 2)
    await event_delivered(catalog, late)
    await put_event_off(catalog, late, seconds=0, why="late")
    await park_event(catalog, late, why="late")
    row = await sql.fetchrow("SELECT attempts, last_error, parked_at FROM events")
    assert tuple(row) == (2, None, None)
    assert await claim(catalog) == []
    await event_delivered(catalog, now)
    assert await waiting(sql) == 0


@pytest.mark.usefixtures("secret")
async def test_a_claim_takes_no_more_than_is_free_for_each_tenant(catalog: Catalog) -> None:
    await record(catalog, 10)

    async def taken(each: int, under_way: dict[str, int], limit: int = 100) -> int:
        events = await claim_events(
            catalog, limit=limit, each=each, under_way=under_way, claim_seconds=60
        )
        return len(events)

    assert await taken(3, {TENANT: 3}) == 0
    assert await taken(3, {TENANT: 5}) == 0
    assert await taken(3, {TENANT: 1}) == 2
    assert await taken(3, {"other": 3}) == 3
    assert await taken(10, {}, limit=4) == 4
    assert await taken(10, {}) == 1


@pytest.mark.usefixtures("secret")
async def test_a_claim_waits_for_no_other(catalog: Catalog, sql: asyncpg.Connection) -> None:
    await record(catalog, 2)
    async with sql.transaction():
        held = await sql.fetchval("SELECT min(id) FROM events")
        await sql.execute("SELECT 1 FROM events WHERE id = $1 FOR UPDATE", held)
        assert await claim(catalog) == [held + 1]
    assert await claim(catalog) == [held]


@pytest.mark.usefixtures("secret")
async def test_a_tenant_whose_webhook_is_gone_waits_and_is_told_when_it_is_back(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, deliver: Deliver
) -> None:
    await record(catalog)
    await change_tenant(catalog, TENANT, {"webhook_url": None})
    running = await deliver()
    assert await claim(catalog) == []
    await change_tenant(catalog, TENANT, {"webhook_url": receiver.url})
    await none_waits(sql)
    assert running.counted("delivered") == 1


@pytest.mark.usefixtures("secret")
async def test_what_waits_is_measured(
    catalog: Catalog, sql: asyncpg.Connection, deliver: Deliver
) -> None:
    await record(catalog, 3)
    await sql.execute(
        "UPDATE events SET created_at = now() - interval '100 s', retry_at = now() + interval '1h'"
    )
    await sql.execute("UPDATE events SET parked_at = now() WHERE id = (SELECT min(id) FROM events)")
    running = await deliver()
    assert running.sample("events_waiting") == 0
    measuring = asyncio.create_task(running.delivery.measure())
    await until(lambda: running.sample("events_waiting") == 2)
    measuring.cancel()
    assert running.sample("events_parked") == 1
    oldest = running.sample("events_oldest_waiting_seconds")
    assert oldest is not None
    assert oldest >= 100


@pytest.mark.usefixtures("secret")
async def test_what_nobody_will_take_is_dropped_in_the_end(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    async def swept(events_seconds: int) -> int:
        return await sweep(
            catalog,
            window_seconds=0,
            purged_seconds=0,
            recounts_seconds=0,
            runs_seconds=0,
            events_seconds=events_seconds,
            limit=100,
        )

    await record(catalog, 4)
    await sql.execute("UPDATE events SET created_at = now() - interval '10 days'")
    await sql.execute(
        "UPDATE events SET parked_at = now() - interval '10 days' "
        "WHERE id = (SELECT min(id) FROM events)"
    )
    await sql.execute("UPDATE events SET parked_at = now() WHERE id = (SELECT max(id) FROM events)")
    assert await swept(11 * 86400) == 0
    assert await swept(9 * 86400) == 1
    await change_tenant(catalog, TENANT, {"webhook_url": None})
    assert await swept(9 * 86400) == 3


async def test_an_unreachable_catalog_is_waited_out(
    catalog: Catalog, sql: asyncpg.Connection, receiver: Receiver, secret: str, deliver: Deliver
) -> None:
    with capture_logs() as logs:
        await deliver()
        await sql.execute("ALTER TABLE events RENAME TO moved_events")
        await until(lambda: any(line["event"] == "events_not_claimed" for line in logs))
    await sql.execute("ALTER TABLE moved_events RENAME TO events")
    await record(catalog)
    await none_waits(sql)
    assert receiver.messages[0].signed_with(secret)


@pytest.mark.usefixtures("secret")
async def test_what_waits_is_measured_without_reading_the_outbox(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    """A receiver that is down for days must not make the measuring slow, nor others' events."""
    await record(catalog, 600)
    await sql.execute(
        "UPDATE events SET parked_at = now() WHERE id % 2 = 0;"
        "UPDATE events SET created_at = now() - interval '100 s'"
        " WHERE id = (SELECT max(id) FROM events WHERE parked_at IS NULL);"
        "INSERT INTO tenants (id) VALUES ('silent');"
        "INSERT INTO events (tenant, kind, payload, created_at)"
        " SELECT 'silent', 'test', '{}', now() - interval '1 day' FROM generate_series(1, 600)"
    )
    await sql.execute("VACUUM events")  # entries of rows that are gone are read once, then no more
    most = 20
    before = await entries_read(sql)
    await sql.fetch("SELECT * FROM events_backlog_v1($1)", most)
    assert await entries_read(sql) - before <= 2 * most + 1
    backlog = await events_backlog(catalog, counted_max=most)
    assert (backlog.waiting, backlog.parked) == (most, most)
    assert 100 <= backlog.oldest_waiting_seconds < 86_400


async def entries_read(sql: asyncpg.Connection) -> int:
    """Rows and index entries of the outbox that statements have read so far."""
    await sql.fetch("SELECT pg_stat_force_next_flush()")
    read: int = await sql.fetchval(
        "SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes AS i"
        " WHERE i.relid = t.relid)::bigint FROM pg_stat_user_tables AS t WHERE relname = 'events'"
    )
    return read
