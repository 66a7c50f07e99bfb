"""Uploads whose last bytes came to a process that has not seen the first ones."""

import asyncio
import zlib
from uuid import UUID

import asyncpg
import pytest
from aiohttp import ClientResponse
from structlog.testing import capture_logs

from mediastore.catalog.finishing import touch_finishing
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload
from mediastore.chunkstore.protocol import MissingKey
from mediastore.errors import ChunkStoreUnavailable, UploadTaken
from mediastore.uploads import finishing, fragments, running_hash
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, offset_of, patch, stored

NEVER_SECONDS = 3600  # a test's own timeout ends it long before


def id_of(url: str) -> UUID:
    return UUID(url.rpartition("/")[2])


async def half_elsewhere(
    start: Starter, data: bytes, *, wait_seconds: float
) -> tuple[Service, str]:
    """A replica that is about to get the second half; another one has read the first.

    `wait_seconds`: how long the replica's answers wait for its job.
    """
    first = await start()
    second = await start(first.kept, uploads={"finishing_wait_seconds": wait_seconds})
    url = await create(first, len(data))
    half = len(data) // 2
    assert await patch(first, url, 0, data[:half]) == (204, str(half))
    return second, url


async def test_an_answer_before_the_hash_is_known_acknowledges_every_byte(
    start: Starter, sql: asyncpg.Connection
) -> None:
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=0.01)
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    assert await patch(service, url, 20_000, data[20_000:]) == (204, "40000")
    assert await offset_of(service, url) == 40_000
    assert await sql.fetchval("SELECT writer FROM uploads") is None
    assert reading.gate is not None
    reading.gate.set()
    job = service.uploads.parts.finisher._jobs[id_of(url)]
    await job
    assert await stored(service, url) == data


async def refused(service: Service, url: str, offset: int, data: bytes) -> tuple[int, str]:
    answer = await service.client.patch(
        url, data=data, headers={**service.tus, **PATCH_TYPE, "Upload-Offset": str(offset)}
    )
    return answer.status, (await answer.json())["code"]


@pytest.mark.parametrize("missing", [False, True])
async def test_a_bad_copy_is_marked_not_read_for_ever_and_healed_by_the_same_bytes(
    start: Starter, sql: asyncpg.Connection, missing: bool
) -> None:
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=30)
    key = min(service.kept._held)
    await service.kept.delete_many([key])
    if not missing:
        await service.kept.put(key, b"rotten", crc32=zlib.crc32(b"rotten"))
    code = "content_missing" if missing else "content_damaged"
    assert await refused(service, url, 20_000, data[20_000:]) == (500, code)
    marked = await sql.fetchval("SELECT hash FROM chunks WHERE damaged_at IS NOT NULL")
    assert marked.hex() in key

    await sql.execute("UPDATE uploads SET touched_at = now() - interval '1h'")
    expires, reads = await sql.fetchval("SELECT expires_at FROM uploads"), len(service.store.calls)
    answer = await service.client.head(url, headers=service.tus)
    assert answer.status == 500
    assert len(service.store.calls) == reads
    assert await sql.fetchval("SELECT expires_at FROM uploads") == expires

    again = await create(service, 20_000)
    assert await patch(service, again, 0, data[:20_000]) == (204, "20000")
    await sql.execute("UPDATE uploads SET touched_at = now() - interval '1h'")
    await offset_of(service, url)
    await until(lambda: not service.uploads.parts.finisher._jobs)
    assert await stored(service, url) == data


async def test_an_outage_does_not_send_the_job_back_to_the_first_byte(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "OUTAGE_PAUSE_SECONDS", 0.01)
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=0.01)
    service.store.script("get", None, None, Fault(before=ChunkStoreUnavailable()))
    assert await patch(service, url, 20_000, data[20_000:]) == (204, "40000")
    await until(lambda: not service.uploads.parts.finisher._jobs)
    assert await stored(service, url) == data
    assert service.store.count("get") == len(service.kept._held) + 1


async def test_a_process_takes_over_no_more_than_it_can_work_on(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "SWEEP_SECONDS", 0.01)
    service = await start()
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    for number in range(2 * finishing.JOBS_MAX):
        url = await create(service, 2000)
        await patch(service, url, 0, content(1000, number))
    await sql.execute(
        "UPDATE uploads SET length = 1000, state = 'finishing', touched_at = now() - interval '1h'"
    )
    jobs = service.uploads.parts.finisher._jobs
    await until(lambda: len(jobs) == finishing.JOBS_MAX)
    await asyncio.sleep(0.1)
    assert len(jobs) == finishing.JOBS_MAX
    assert reading.gate is not None
    reading.gate.set()
    await until(lambda: not jobs)


async def test_a_job_that_has_ended_shows_no_life_any_more(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    showing = calls = 0

    async def slow_touch(*_: object, **__: object) -> bool:
        nonlocal showing, calls
        calls += 1
        if calls > 1:  # the job that lacks content asks whether it is still its own
            return True
        showing += 1
        try:
            await asyncio.sleep(60)
            return True
        finally:  # as a statement that the server ends a moment after it was cancelled
            await asyncio.sleep(0.05)
            showing -= 1

    monkeypatch.setattr(finishing, "touch_finishing", slow_touch)
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=30)
    service.store.always("get", Fault(before=MissingKey("gone")))
    assert (await refused(service, url, 20_000, data[20_000:]))[1] == "content_missing"
    assert showing == 0


OVERTAKE = "UPDATE uploads SET epoch = epoch + 1, touched_at = now() - interval '1h'"


async def test_a_job_that_was_overtaken_stops_at_once(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not read to its end to learn so; who waits for it learns that all bytes are there."""
    monkeypatch.setattr(finishing, "TOUCH_SECONDS", 0.01)
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=NEVER_SECONDS)
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    sending = asyncio.create_task(patch(service, url, 20_000, data[20_000:]))
    await reading.reached.wait()
    await sql.execute(OVERTAKE)
    assert await sending == (204, "40000")  # the gate is shut
    assert not service.uploads.parts.finisher._jobs
    assert service.memory.in_use_bytes == 0
    assert service.store.count("get") == 1
    service.store.heal()
    assert await offset_of(service, url) == 40_000
    assert await stored(service, url) == data


def shows_life_once(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """At its beginning, of which the event tells: it learns at its end that it was overtaken."""
    monkeypatch.setattr(finishing, "TOUCH_SECONDS", NEVER_SECONDS)
    touch, shown = touch_finishing, asyncio.Event()

    async def touch_and_tell(catalog: Catalog, upload: Upload, *, expires_seconds: int) -> bool:
        lives = await touch(catalog, upload, expires_seconds=expires_seconds)
        shown.set()
        return lives

    monkeypatch.setattr(finishing, "touch_finishing", touch_and_tell)
    return shown


async def test_who_waits_for_a_job_that_was_overtaken_gets_what_the_other_one_made(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = shows_life_once(monkeypatch)
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=0.01)
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    assert await patch(service, url, 20_000, data[20_000:]) == (204, "40000")
    await asyncio.gather(reading.reached.wait(), shown.wait())
    await sql.execute(OVERTAKE)
    other = await start(service.kept)
    assert await other.uploads.parts.finisher.resume(id_of(url)) is not None
    settings = service.settings.uploads.model_copy(update={"finishing_wait_seconds": NEVER_SECONDS})
    patient = service.settings.model_copy(update={"uploads": settings})
    monkeypatch.setattr(service.uploads.parts.finisher, "_settings", patient)
    job = service.uploads.parts.finisher._jobs[id_of(url)]
    waiting = asyncio.create_task(service.uploads.parts.finisher.wait(job))
    assert reading.gate is not None
    reading.gate.set()
    assert await waiting is None, "it is the other one's"
    standing = await service.uploads.take("acme", id_of(url))
    assert standing.object is not None


async def test_a_job_that_finds_its_content_gone_to_another_ones_object_reports_no_loss(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = shows_life_once(monkeypatch)
    monkeypatch.setattr(running_hash, "PAGE_CHUNKS", 1)  # it has to ask for its chunks again
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=0.01)
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    assert await patch(service, url, 20_000, data[20_000:]) == (204, "40000")
    await asyncio.gather(reading.reached.wait(), shown.wait())
    await sql.execute(OVERTAKE)
    other = await start(service.kept)
    assert await other.uploads.parts.finisher.resume(id_of(url)) is not None
    job = service.uploads.parts.finisher._jobs[id_of(url)]
    assert reading.gate is not None
    reading.gate.set()
    with capture_logs() as logs, pytest.raises(UploadTaken):
        await job
    assert [log for log in logs if log["log_level"] == "error"] == []
    assert await stored(other, url) == data


async def test_content_that_a_job_refuses_is_dropped_and_counted(
    start: Starter, sql: asyncpg.Connection
) -> None:
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=30)
    await sql.execute("UPDATE uploads SET declared_hash = sha256('other')")
    assert await refused(service, url, 20_000, data[20_000:]) == (400, "bad_digest")
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    assert service.app_metric("uploads_ended_total", how="abandoned") == 1
    assert service.app_metric("uploads_unfinished_bytes_total", how="abandoned") == 40_000


async def one_request(service: Service, data: bytes) -> ClientResponse:
    return await service.client.post(
        "/v1/objects", data=data, headers=service.bearer | {"Idempotency-Key": "once"}
    )


async def test_a_key_outlives_the_process_whose_job_died(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request that ends in a job; another process ends that, and the request is sent again."""
    monkeypatch.setattr(fragments, "FINISHED_AT_ONCE_MAX", 0)
    batches = {"batch_max_bytes": 64 * 1024}
    first = await start(uploads={**batches, "finishing_wait_seconds": 0.01})
    first.store.always("get", Fault(gate=asyncio.Event()))
    monkeypatch.setattr(first.uploads.parts.finisher, "_run", never_ending)
    data = content(200_000)
    answer = await one_request(first, data)
    told = await answer.json()
    assert (answer.status, told["code"]) == (409, "upload_finishing")
    await first.uploads.parts.finisher.close()

    await sql.execute("UPDATE uploads SET touched_at = now() - interval '1h'")
    second = await start(first.kept, uploads=batches)
    made = await second.uploads.parts.finisher.resume(UUID(told["id"]))
    assert made is not None
    again = await one_request(second, data)
    assert (again.status, (await again.json())["id"]) == (200, told["id"])
    assert await sql.fetchval("SELECT count(*) FROM objects") == 1


async def never_ending(*_: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("change", "status", "level"),
    [
        ("UPDATE uploads SET declared_hash = sha256('other')", 400, "info"),
        ("UPDATE chunks SET damaged_at = now()", 500, "error"),
    ],
)
async def test_whose_fault_it_is_that_a_job_made_no_object(
    start: Starter, sql: asyncpg.Connection, change: str, status: int, level: str
) -> None:
    data = content(40_000)
    service, url = await half_elsewhere(start, data, wait_seconds=30)
    await sql.execute(change)
    with capture_logs() as logs:
        assert (await refused(service, url, 20_000, data[20_000:]))[0] == status
    assert [log["log_level"] for log in logs if log["event"] == "finishing_failed"] == [level]


async def test_only_an_upload_s_writer_drops_it(start: Starter, sql: asyncpg.Connection) -> None:
    """Who was overtaken and then finds its own body wrong has no say any more."""
    service = await start()
    url = await create(service, 20_000)
    id_ = id_of(url)
    overtaken = (await service.uploads.take("acme", id_)).upload
    assert overtaken is not None
    assert await patch(service, url, 0, content(10_000)) == (204, "10000")
    await service.uploads.parts.drop(overtaken)
    assert await offset_of(service, url) == 10_000
    holder = (await service.uploads.take("acme", id_)).upload
    assert holder is not None
    await service.uploads.parts.drop(holder)
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
