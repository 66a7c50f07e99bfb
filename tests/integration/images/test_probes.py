"""Uploaded pictures are looked at in the background: once for each content, whoever dies."""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mediastore.app_keys import CATALOG, SETTINGS
from mediastore.catalog.pictures import (
    ClaimedPicture,
    claim_picture,
    end_picture,
    give_picture_back,
    pictures_backlog,
    put_picture_off,
)
from mediastore.catalog.tenants import change_tenant
from mediastore.images.formats import SOURCE_TYPES
from mediastore.images.probes import retry_seconds
from mediastore.images.routes import WORKERS
from mediastore.settings import ImagesSettings, Settings
from tests.integration.images.conftest import Keys, image_settings
from tests.integration.images.test_serving import get, of
from tests.integration.service import Connection, Service, bearer, running, until, upload
from tests.pictures import encoded, jpeg, photo, png_claiming, turned

QUICK = {"probe_poll_seconds": 0.02, "probe_retry_seconds": 0.01}
LOOKING = QUICK | {"probes_at_once": 1}


@pytest.fixture
def looking(dsn: str, tmp_path: Path) -> Settings:
    """Of a service that looks; the one in `service` does not."""
    return image_settings(dsn, tmp_path, **LOOKING)


@pytest.fixture
async def looker(looking: Settings, keys: Keys) -> AsyncIterator[Service]:
    async with running(looking) as started:
        yield started


async def read(service: Service, key: str, id_: str) -> dict[str, Any]:
    async with service.client.get(f"/v1/objects/{id_}", headers=bearer(key)) as response:
        assert response.status == 200
        document: dict[str, Any] = await response.json()
        return document


async def listed(service: Service, key: str) -> list[dict[str, Any]]:
    async with service.client.get("/v1/objects", headers=bearer(key)) as response:
        objects: list[dict[str, Any]] = (await response.json())["objects"]
        return objects


async def pictured(service: Service, key: str, id_: str) -> dict[str, Any]:
    """As soon as it is there."""
    found: dict[str, Any] = {}

    async def is_there() -> bool:
        found.update((await read(service, key, id_))["picture"] or {})
        return bool(found)

    await until(is_there)
    return found


def looks(outcome: str, *services: Service) -> float:
    """How many ended so; counted just after it is written what was found."""
    return sum(service.sample("picture_probes_total", outcome=outcome) for service in services)


async def states(connection: Connection) -> Counter[str]:
    rows = await connection.fetch("SELECT state FROM media")
    return Counter(row["state"] for row in rows)


def taken(moment: str = "2026:02:03 04:05:06") -> bytes:
    exif = Image.Exif()
    exif[0x8769] = {0x9003: moment}
    return encoded(photo(60, 40), exif=exif.tobytes())


async def claimed(service: Service, lease_seconds: float = 60) -> ClaimedPicture:
    found = await claim_picture(service.app[CATALOG], lease_seconds=lease_seconds)
    assert found is not None
    return found


# What clients see


async def test_an_uploaded_picture_is_looked_at(looker: Service, keys: Keys) -> None:
    made = await upload(looker, keys.acme, turned(photo(320, 200), 6))
    assert made["picture"] is None
    picture = await pictured(looker, keys.acme, made["id"])
    assert picture.keys() == {
        *("state", "type", "width", "height", "frames", "orientation", "colour_profile"),
        *("thumbhash", "blurhash", "dominant_colour", "perceptual_hash"),
    }
    assert picture["state"] == "done"
    assert picture["type"] == "image/jpeg"
    assert (picture["width"], picture["height"], picture["orientation"]) == (320, 200, 6)
    assert (await listed(looker, keys.acme))[0]["picture"] == picture
    url = f"/v1/objects/{made['id']}"
    changed = looker.client.patch(url, json={"name": "b.jpg"}, headers=bearer(keys.acme))
    async with changed as response:
        assert (await response.json())["picture"] == picture
    async with looker.client.delete(url, headers=bearer(keys.acme)) as response:
        assert (await response.json())["picture"] == picture
    async with looker.client.post(f"{url}/restore", headers=bearer(keys.acme)) as response:
        assert (await response.json())["picture"] == picture


@pytest.mark.parametrize(
    ("data", "code"),
    [(jpeg()[:9000], "image_refused"), (png_claiming(20_000, 20_000), "image_too_large")],
)
async def test_a_damaged_picture_has_a_code_and_its_upload_is_unharmed(
    looker: Service, keys: Keys, data: bytes, code: str
) -> None:
    made = await upload(looker, keys.acme, data)
    assert await pictured(looker, keys.acme, made["id"]) == {"state": "failed", "code": code}
    url = f"/v1/objects/{made['id']}/content"
    async with looker.client.get(url, headers=bearer(keys.acme)) as response:
        assert await response.read() == data
    await until(lambda: looks("failed", looker) == 1)


async def test_content_that_is_no_picture_has_none(
    looker: Service, keys: Keys, connection: Connection
) -> None:
    """Whatever it was declared as; other types are not looked at."""
    made = [
        await upload(looker, keys.acme, b"hello, this is no picture"),
        await upload(looker, keys.acme, b""),
        await upload(looker, keys.acme, b"<svg/>", content_type="image/svg+xml"),
        await upload(looker, keys.acme, jpeg(), content_type="application/pdf"),
    ]
    await until(lambda: looks("not_a_picture", looker) == 2)
    assert [(await read(looker, keys.acme, one["id"]))["picture"] for one in made] == [None] * 4
    assert await states(connection) == {"not_a_picture": 2}


async def test_types_are_told_by_name_whatever_their_parameters(connection: Connection) -> None:
    async def is_picture(name: str) -> bool:
        return bool(await connection.fetchval("SELECT is_picture_type_v1($1)", name))

    for name in (*SOURCE_TYPES.values(), "image/jpg", "IMAGE/JPEG", "image/png; x=y"):
        assert await is_picture(name), name
    for name in ("image/svg+xml", "image/", "text/image/jpeg", "application/pdf", ""):
        assert not await is_picture(name), name


# Once


async def test_the_same_bytes_are_looked_at_once(
    service: Service, looker: Service, keys: Keys, looking: Settings, connection: Connection
) -> None:
    """By two replicas, for two tenants."""
    async with running(looking) as other:
        pictures = [jpeg(300, 200, seed) for seed in range(3)]
        made = [(key, await upload(service, key, data)) for data in pictures for key in keys.both]
        shown = [await pictured(service, key, one["id"]) for key, one in made]
        await until(lambda: looks("done", looker, other) == 3)
        assert [looks(outcome, looker, other) for outcome in ("put_off", "gone")] == [0, 0]
    assert shown[0::2] == shown[1::2]
    assert await states(connection) == {"done": 3}
    assert await connection.fetchval("SELECT max(attempts) FROM media") == 1


async def test_a_claim_is_one_replicas_and_fences(service: Service, keys: Keys) -> None:
    catalog = service.app[CATALOG]
    await upload(service, keys.acme, jpeg())
    first = await claimed(service, lease_seconds=0)
    second = await claimed(service)
    assert await claim_picture(catalog, lease_seconds=60) is None
    await put_picture_off(catalog, first, seconds=0)
    await give_picture_back(catalog, first)
    assert not await end_picture(catalog, first, "not_a_picture")
    assert await claim_picture(catalog, lease_seconds=60) is None
    assert await end_picture(catalog, second, "failed", code="image_refused")
    assert not await end_picture(catalog, second, "not_a_picture")


async def test_nothing_is_claimed_while_variants_wait(
    looker: Service, keys: Keys, connection: Connection
) -> None:
    """The only place is taken: a look does not even begin, so its lease does not run."""
    async with looker.app[WORKERS].queue.place("acme"):
        await upload(looker, keys.acme, jpeg())
        await until(lambda: looker.app[WORKERS].queue.waiting == 1)
        assert await connection.fetchval("SELECT attempts FROM media") == 0
    await until(lambda: looks("done", looker) == 1)


async def test_a_tenant_with_many_holds_up_nobody(
    service: Service, keys: Keys, connection: Connection
) -> None:
    await connection.execute(
        "WITH b AS (INSERT INTO blobs (hash, size, refs)"
        " SELECT sha256(n::text::bytea), 1, 1 FROM generate_series(1, 2000) AS n RETURNING hash)"
        " INSERT INTO media (blob, tenant, retry_at)"
        " SELECT hash, 'acme', catalog_clock() - interval '1 day' FROM b"
    )
    wanted = bytes.fromhex((await upload(service, keys.public, jpeg()))["blob"])
    turns = 1
    while (await claimed(service)).blob != wanted:
        turns += 1
    assert turns < 64  # by chance 2 on average; 1 of 2**63 runs needs more


# Who dies


async def test_a_look_whose_process_died_is_taken_over(
    service: Service, keys: Keys, looking: Settings, connection: Connection
) -> None:
    made = await upload(service, keys.acme, jpeg())
    dead = await claimed(service, lease_seconds=3600)
    async with running(looking) as other:
        await connection.execute("UPDATE media SET retry_at = catalog_clock()")
        await pictured(other, keys.acme, made["id"])
    assert not await end_picture(service.app[CATALOG], dead, "not_a_picture")
    assert await states(connection) == {"done": 1}


async def test_a_picture_whose_looks_never_end_fails(
    service: Service, keys: Keys, looking: Settings, connection: Connection
) -> None:
    made = await upload(service, keys.acme, jpeg())
    for _ in range(looking.images.probe_attempts_max):
        await claimed(service, lease_seconds=0)
    async with running(looking) as other:
        shown = await pictured(other, keys.acme, made["id"])
        assert shown == {"state": "failed", "code": "image_too_costly"}
        assert other.app[WORKERS].pids == []


async def test_a_worker_that_is_killed_costs_an_attempt(
    looker: Service, keys: Keys, connection: Connection
) -> None:
    await upload(looker, keys.acme, jpeg(seed=2))
    await until(lambda: looks("done", looker) == 1)
    (pid,) = looker.app[WORKERS].pids
    os.kill(pid, signal.SIGSTOP)
    made = await upload(looker, keys.acme, jpeg())
    await until(lambda: bool(looker.app[WORKERS]._busy))
    os.kill(pid, signal.SIGKILL)
    assert (await pictured(looker, keys.acme, made["id"]))["state"] == "done"
    assert looks("put_off", looker) == 1
    blob = bytes.fromhex(made["blob"])
    assert await connection.fetchval("SELECT attempts FROM media WHERE blob = $1", blob) == 2


async def test_a_picture_that_cannot_be_read_is_tried_again_and_not_for_ever(
    looker: Service, keys: Keys, service: Service
) -> None:
    data = jpeg(200, 150)
    async with looker.app[WORKERS].queue.place("acme"):
        made = await upload(service, keys.acme, data)
        next(path for path in service.chunks.glob("chunks/**/*") if path.is_file()).unlink()
    shown = await pictured(looker, keys.acme, made["id"])
    assert shown == {"state": "failed", "code": "content_missing"}
    assert looks("put_off", looker) == 4
    # Who uploads it again has it looked at again.
    again = await upload(service, keys.acme, data)

    async def is_done() -> bool:
        found = (await read(looker, keys.acme, again["id"]))["picture"]
        return bool(found and found["state"] == "done")

    await until(is_done)


async def test_while_the_store_is_away_no_picture_fails(
    looker: Service, keys: Keys, service: Service, connection: Connection
) -> None:
    async with looker.app[WORKERS].queue.place("acme"):
        made = await upload(service, keys.acme, jpeg(200, 150))
        away = service.chunks.with_name("away")
        service.chunks.rename(away)
    tries = 2 * looker.app[SETTINGS].images.probe_attempts_max
    await until(lambda: looks("put_off", looker) >= tries)
    assert await states(connection) == {"waiting": 1}
    away.rename(service.chunks)
    assert (await pictured(looker, keys.acme, made["id"]))["state"] == "done"
    assert looks("failed", looker) == 0
    assert await connection.fetchval("SELECT attempts FROM media") == 1


async def test_a_stopping_replica_gives_its_picture_back(
    service: Service, keys: Keys, looking: Settings, connection: Connection
) -> None:
    async with running(looking) as stopping:
        await upload(service, keys.acme, jpeg(seed=2))
        await until(lambda: looks("done", stopping) == 1)
        (pid,) = stopping.app[WORKERS].pids
        os.kill(pid, signal.SIGSTOP)
        blob = bytes.fromhex((await upload(service, keys.acme, jpeg()))["blob"])
        await until(lambda: bool(stopping.app[WORKERS]._busy))
    assert not Path(f"/proc/{pid}").exists()
    assert await connection.fetchval("SELECT attempts FROM media WHERE blob = $1", blob) == 0
    assert (await claimed(service)).blob == blob


def test_pauses_grow_up_to_the_longest() -> None:
    settings = ImagesSettings(probe_retry_seconds=10, probe_retry_max_seconds=100)
    assert 5 <= retry_seconds(settings, 1) <= 10
    assert 20 <= retry_seconds(settings, 2) <= 40
    assert 50 <= retry_seconds(settings, 1000) <= 100


# Before there was anybody to look


async def test_what_was_uploaded_before_is_looked_at_when_it_is_read(
    service: Service, keys: Keys, looking: Settings, connection: Connection
) -> None:
    made = [await upload(service, keys.acme, jpeg(80, 60, seed)) for seed in range(3)]
    await connection.execute("DELETE FROM media")
    async with running(looking) as other:
        assert (await read(other, keys.acme, made[0]["id"]))["picture"] is None
        assert (await pictured(other, keys.acme, made[0]["id"]))["width"] == 80
        await listed(other, keys.acme)
        await until(lambda: looks("done", other) == 3)
    assert await states(connection) == {"done": 3}
    assert await connection.fetchval("SELECT count(*) FROM media WHERE tenant = 'acme'") == 3


# When it was taken


async def test_when_it_was_taken_is_kept_for_tenants_that_want_it(
    service: Service, keys: Keys, looking: Settings, connection: Connection
) -> None:
    """By default it is nowhere; who keeps it has it, and nobody else."""
    async with running(looking) as other:
        hidden = await upload(service, keys.acme, taken())
        assert "captured_at" not in await pictured(other, keys.acme, hidden["id"])
        probe = "SELECT probe ->> 'captured_at' FROM media"
        assert await connection.fetchval(probe) is None
        await change_tenant(service.app[CATALOG], "public", {"keep_capture_time": True})
        kept = await upload(service, keys.public, taken())

        await until(lambda: looks("done", other) == 2)
        assert await connection.fetchval(probe) is not None
    async with running(looking) as fresh:  # policies are believed for a while
        shown = (await read(fresh, keys.public, kept["id"]))["picture"]
        assert shown["captured_at"] == "2026-02-03T04:05:06"
        assert "captured_at" not in (await read(fresh, keys.acme, hidden["id"]))["picture"]
        await upload(service, keys.acme, taken())  # nobody looks a third time
    assert await states(connection) == {"done": 1}


async def test_a_look_that_is_under_way_is_overtaken_by_who_wants_more(
    service: Service, keys: Keys
) -> None:
    await upload(service, keys.acme, taken())
    first = await claimed(service)
    assert not first.keep_captured
    await change_tenant(service.app[CATALOG], "public", {"keep_capture_time": True})
    await upload(service, keys.public, taken())
    second = await claimed(service)
    assert second.keep_captured
    assert not await end_picture(service.app[CATALOG], first, "not_a_picture")
    assert await end_picture(service.app[CATALOG], second, "not_a_picture")


# Variants and metrics


async def test_variants_are_not_looked_at(
    service: Service, keys: Keys, connection: Connection
) -> None:
    made = await upload(service, keys.public, jpeg())
    assert (await get(service, of(made["blob"], "preset-card/a.webp"))).status == 200
    assert await connection.fetchval("SELECT array_agg(blob) FROM media") == [
        bytes.fromhex(made["blob"])
    ]


async def test_what_waits_is_measured(
    service: Service, keys: Keys, connection: Connection, settings: Settings
) -> None:
    for seed in range(3):
        await upload(service, keys.acme, jpeg(60, 40, seed))
    await connection.execute("UPDATE media SET asked_at = asked_at - interval '1 hour'")
    found = await pictures_backlog(service.app[CATALOG])
    assert found.waiting == 3
    assert 3600 <= found.oldest_waiting_seconds < 3700
    assert (await pictures_backlog(service.app[CATALOG], counted_max=2)).waiting == 2
    async with running(settings) as fresh:
        await until(lambda: fresh.sample("pictures_waiting") == 3)
        assert fresh.sample("pictures_oldest_waiting_seconds") >= 3600
