"""Uploads of tens of thousands of chunks: no statement's work grows with the upload, or it may take
long. And what has all its bytes does not expire.
"""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from mediastore.catalog.collection import expire_uploads
from mediastore.catalog.concatenation import Joined, join_parts
from mediastore.catalog.dropping import RELEASED_ROWS_MAX
from mediastore.uploads import finishing
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_concatenation import final, head, id_of, part
from tests.integration.uploads.test_finishing import half_elsewhere
from tests.integration.uploads.test_tus import content, create, patch, stored
from tests.recount_exact import assert_references_exact

ROWS = 40_000


async def fill(sql: asyncpg.Connection, id_: UUID, rows: int) -> None:
    """Give an upload chunks of one byte each, as if their commits had been acknowledged."""
    await sql.execute(
        'INSERT INTO upload_chunks (upload, "offset", hash, size) '
        "SELECT $1, i, sha256(convert_to(i::text, 'UTF8')), 1 FROM generate_series(0, $2 - 1) AS i",
        id_,
        rows,
    )
    await sql.execute(
        "INSERT INTO chunks (hash, generation, size, refs, stored) "
        "SELECT sha256(convert_to(i::text, 'UTF8')), i, 1, 1, true "
        "FROM generate_series(0, $1 - 1) AS i "
        "ON CONFLICT (hash) DO UPDATE SET refs = chunks.refs + 1",
        rows,
    )
    await sql.execute('UPDATE uploads SET "offset" = $2 WHERE id = $1', id_, rows)


async def longest_release(sql: asyncpg.Connection) -> int:
    longest: int = await sql.fetchval("SELECT max(length(entries) / 40) FROM unlinking")
    return longest


async def test_a_delete_gives_the_rest_to_the_collector(
    service: Service, sql: asyncpg.Connection
) -> None:
    url = await create(service, 1 << 40)
    await fill(sql, id_of(url), ROWS)
    assert (await service.client.delete(url, headers=service.tus)).status == 204
    assert (await head(service, url))["status"] == "404"
    assert (await service.client.delete(url, headers=service.tus)).status == 404
    assert (await patch(service, url, ROWS, b"x"))[0] == 404
    assert await longest_release(sql) == RELEASED_ROWS_MAX
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == ROWS - RELEASED_ROWS_MAX
    await assert_references_exact(sql)
    entries, uploads = [], 0
    while True:
        expired = await expire_uploads(service.catalog, 100, entries_max=RELEASED_ROWS_MAX)
        uploads += expired.uploads
        if not expired.entries:
            break
        entries.append(expired.entries)
    assert entries == [RELEASED_ROWS_MAX] * 3
    assert uploads == 0, "it was deleted, and did not expire"
    assert await longest_release(sql) == RELEASED_ROWS_MAX
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    await assert_references_exact(sql)


async def test_the_writer_of_an_upload_that_is_being_dropped_writes_nothing_more(
    service: Service, sql: asyncpg.Connection
) -> None:
    url = await create(service, ROWS + 10_000)
    await fill(sql, id_of(url), ROWS)
    await sql.execute("UPDATE uploads SET fragments = 0")
    putting = Fault(gate=asyncio.Event())
    service.store.script("put", putting)
    writing = asyncio.create_task(patch(service, url, ROWS, content(9000)))
    await putting.reached.wait()
    assert (await service.client.delete(url, headers=service.tus)).status == 204
    assert putting.gate is not None
    putting.gate.set()
    assert (await writing)[0] in (404, 409)
    assert await sql.fetchval('SELECT "offset" FROM uploads') == ROWS
    await assert_references_exact(sql)


async def test_parts_of_very_many_chunks_are_joined_in_bounded_steps(
    service: Service, sql: asyncpg.Connection
) -> None:
    parts = []
    for _ in range(2):
        url = await part(service, b"x" * 25_000, sent=0)
        await fill(sql, id_of(url), 25_000)
        parts.append(url)
    waiting = await part(service, b"")
    last = await part(service, b"more", sent=1)
    status, url = await final(service, *parts, waiting, last)
    assert status == 201
    assert await sql.fetchval('SELECT "offset" FROM uploads WHERE id = $1', id_of(url)) == 50_000
    assert await sql.fetchval("SELECT fragments FROM uploads WHERE id = $1", id_of(url)) == 50_000
    assert await sql.fetchval("SELECT joined FROM concatenations") == 3
    await assert_references_exact(sql)

    step = await join_parts(
        service.catalog, id_of(url), epoch=1, size_max_bytes=1 << 40, expires_seconds=60
    )
    assert step is Joined.WAITING
    assert (await service.client.delete(url, headers=service.tus)).status == 204
    assert await longest_release(sql) == RELEASED_ROWS_MAX
    await assert_references_exact(sql)


async def test_a_finish_may_take_longer_than_other_statements(
    start: Starter, sql: asyncpg.Connection
) -> None:
    """Of an upload of very many chunks, which a trigger that sleeps stands for here."""
    await sql.execute(
        "CREATE FUNCTION sleep_long() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(3); RETURN NEW; END $$; "
        "CREATE TRIGGER sleep_long BEFORE INSERT ON objects "
        "FOR EACH ROW EXECUTE FUNCTION sleep_long()"
    )
    service = await start()
    short = await start(service.kept)
    short.catalog._pool._connect_kwargs["server_settings"]["statement_timeout"] = "2000"
    await short.catalog._pool.expire_connections()
    data = content(30_000)
    url = await create(short, 30_000)
    assert await patch(short, url, 0, data[:20_000]) == (204, "20000")
    assert (await patch(short, url, 20_000, data[20_000:]))[0] == 503
    await sql.execute("UPDATE uploads SET fragments = 20000")
    assert await patch(short, url, 20_000, data[20_000:]) == (204, "30000")
    assert await stored(short, url) == data


# What has all its bytes does not expire


async def test_a_finishing_upload_outlives_every_process(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client did all it had to; then nothing ran for longer than an upload lives."""
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=0.01)
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    assert await patch(service, url, 20_000, data[20_000:]) == (204, "40000")
    await service.uploads.parts.finisher.close()
    await sql.execute(
        "UPDATE uploads SET touched_at = now() - interval '30d', expires_at = now() - interval '9d'"
    )
    expired = await expire_uploads(service.catalog, 100, entries_max=1000)
    assert (expired.uploads, expired.entries) == (0, 0)
    again = await start(service.kept)
    assert (await head(again, url))["Upload-Offset"] == "40000"
    await until(lambda: not again.uploads.parts.finisher._jobs)
    assert await stored(again, url) == data


async def test_a_finishing_upload_that_nobody_can_read_expires(
    start: Starter, sql: asyncpg.Connection
) -> None:
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=0.01)
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    assert await patch(service, url, 20_000, data[20_000:]) == (204, "40000")
    await service.uploads.parts.finisher.close()
    await sql.execute("UPDATE uploads SET expires_at = now() - interval '1s'")
    await sql.execute(
        "UPDATE chunks SET damaged_at = now() WHERE hash = (SELECT hash FROM chunks LIMIT 1)"
    )
    assert (await expire_uploads(service.catalog, 100, entries_max=1000)).uploads == 1
    await assert_references_exact(sql)


async def test_a_sweep_takes_over_what_has_expired_meanwhile(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=0.01)
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    assert await patch(service, url, 20_000, data[20_000:]) == (204, "40000")
    await service.uploads.parts.finisher.close()
    await sql.execute(
        "UPDATE uploads SET touched_at = now() - interval '30d', expires_at = now() - interval '9d'"
    )
    monkeypatch.setattr(finishing, "SWEEP_SECONDS", 0.01)
    again = await start(service.kept)
    while await sql.fetchval("SELECT count(*) FROM objects") == 0:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert await stored(again, url) == data
