"""Several replicas on one database: a variant is made once, and who dies holds nobody up."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediastore.app_keys import CATALOG
from mediastore.catalog.variants import new_computation, take_computation
from mediastore.images.formats import OUTPUTS
from mediastore.images.grammar import parse
from mediastore.images.routes import WORKERS
from mediastore.images.transform import Transform
from mediastore.images.variant_keys import variant_key
from mediastore.settings import Settings
from tests.integration.images.conftest import Keys, image_settings
from tests.integration.images.test_serving import get, of
from tests.integration.service import Connection, Service, bearer, running, until, upload
from tests.pictures import decoded, encoded, jpeg, photo
from tests.recount_exact import assert_references_exact

URL = "preset-card/a.jpg"


@pytest.fixture
async def other(settings: Settings, service: Service) -> AsyncIterator[Service]:
    """Another replica."""
    async with running(settings) as started:
        yield started


def key(written: str, extension: str) -> str:
    transform = parse(written)
    assert isinstance(transform, Transform)
    return variant_key(transform, OUTPUTS[extension])


def made(*services: Service) -> float:
    return sum(service.sample("variants_total", outcome="made") for service in services)


def drawn(*services: Service) -> float:
    return sum(service.sample("image_seconds_count") for service in services)


async def test_many_requests_at_once_make_one_picture(
    service: Service, other: Service, keys: Keys, connection: Connection
) -> None:
    blob = (await upload(service, keys.public, jpeg(1600, 1200)))["blob"]
    answers = await asyncio.gather(
        *(get(replica, of(blob, URL)) for replica in (service, other) for _ in range(8))
    )
    assert {answered.status for answered in answers} == {200}
    assert len({answered.body for answered in answers}) == 1
    assert drawn(service, other) == 1
    assert await connection.fetchval("SELECT count(*) FROM variants") == 1
    await assert_references_exact(connection)


async def test_a_replica_that_died_is_overtaken_when_its_lease_is_over(
    service: Service, keys: Keys, connection: Connection
) -> None:
    blob = (await upload(service, keys.public, jpeg()))["blob"]
    dead = new_computation(bytes.fromhex(blob), key("fill-90x60", "jpg"))
    await take_computation(service.app[CATALOG], dead, lease_seconds=3600)
    asking = asyncio.create_task(get(service, of(blob, URL)))

    async def waits() -> bool:
        return service.sample("variant_lookups_total", outcome="miss") == 1

    await until(waits)
    assert not asking.done()
    await connection.execute("UPDATE variant_jobs SET until = catalog_clock()")
    assert (await asking).status == 200
    assert await connection.fetchval("SELECT count(*) FROM variant_jobs") == 0


async def test_a_stopping_replica_leaves_its_computation_to_the_next(
    settings: Settings, service: Service, keys: Keys, connection: Connection
) -> None:
    blob = (await upload(service, keys.public, jpeg()))["blob"]
    async with running(settings) as stopping:
        await get(stopping, of(blob, "preset-wide/a.jpg"))
        (pid,) = stopping.app[WORKERS].pids
        os.kill(pid, signal.SIGSTOP)  # it will not answer
        asking = asyncio.create_task(get(stopping, of(blob, URL)))

        async def taken() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM variant_jobs"))

        await until(taken)
        asking.cancel()
    assert not Path(f"/proc/{pid}").exists()
    assert await connection.fetchval("SELECT count(*) FROM variant_jobs") == 0
    assert (await get(service, of(blob, URL))).status == 200


async def test_a_worker_that_is_killed_costs_one_picture_and_not_the_service(
    service: Service, keys: Keys
) -> None:
    blob = (await upload(service, keys.public, jpeg()))["blob"]
    await get(service, of(blob, "preset-wide/a.jpg"))
    (pid,) = service.app[WORKERS].pids
    os.kill(pid, signal.SIGSTOP)
    asking = asyncio.create_task(get(service, of(blob, URL)))
    await until(lambda: bool(service.app[WORKERS]._busy))
    os.kill(pid, signal.SIGKILL)
    answered = await asking
    assert answered.status == 422
    assert b'"code": "image_too_costly"' in answered.body
    assert (await get(service, of(blob, "preset-card/a.webp"))).status == 200
    assert service.app[WORKERS].pids != [pid]


async def test_a_variant_whose_bytes_are_gone_is_made_again(
    settings: Settings, service: Service, keys: Keys, connection: Connection
) -> None:
    blob = (await upload(service, keys.public, jpeg()))["blob"]
    first = await get(service, of(blob, URL))
    file = service.file_of(first.body)
    file.unlink()
    async with running(settings) as fresh:  # without the chunk in its cache
        again = await get(fresh, of(blob, URL))
        assert (again.status, again.body) == (200, first.body)
        assert drawn(fresh) == 1
    assert file.exists()
    assert (
        await connection.fetchval("SELECT count(*) FROM chunks WHERE damaged_at > '-infinity'") == 0
    )
    await assert_references_exact(connection)


async def test_a_picture_that_is_its_own_variant_is_not_stored_twice(
    service: Service, keys: Keys, connection: Connection
) -> None:
    """A PNG as this service writes them, asked for as it is: the result is the source."""
    first = (await upload(service, keys.public, encoded(photo(64, 48), "PNG")))["blob"]
    drawn_once = await get(service, of(first, "orig/a.png"), **bearer(keys.public))
    again = (await upload(service, keys.public, drawn_once.body))["blob"]
    for _ in range(2):
        answered = await get(service, of(again, "orig/a.png"), **bearer(keys.public))
        assert (answered.status, answered.body) == (200, drawn_once.body)
    assert await connection.fetchval("SELECT failed FROM variant_jobs") == "same"
    await assert_references_exact(connection)


async def test_too_many_at_once_are_told_to_come_again(
    dsn: str, tmp_path: Path, keys: Keys
) -> None:
    settings = image_settings(dsn, tmp_path, waiting_max=0)
    async with running(settings) as service:
        blob = (await upload(service, keys.public, jpeg()))["blob"]
        await get(service, of(blob, "preset-wide/a.jpg"))
        (pid,) = service.app[WORKERS].pids
        os.kill(pid, signal.SIGSTOP)
        asking = asyncio.create_task(get(service, of(blob, URL)))
        await until(lambda: bool(service.app[WORKERS]._busy))
        refused = await get(service, of(blob, "preset-card/a.webp"))
        assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
        assert b'"code": "images_busy"' in refused.body
        os.kill(pid, signal.SIGCONT)
        assert (await asking).status == 200


async def test_a_large_result_of_many_chunks(
    service: Service, keys: Keys, connection: Connection
) -> None:
    data = encoded(photo(400, 300), "PNG")
    blob = (await upload(service, keys.public, data))["blob"]
    answered = await get(service, of(blob, "rot-90/a.png"), **bearer(keys.public))
    assert decoded(answered.body).size == (300, 400)
    assert len(answered.body) > 5 * 8192
    assert await connection.fetchval("SELECT count(*) FROM uploads") == 0
    await assert_references_exact(connection)
