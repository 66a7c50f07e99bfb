"""What is deleted or erased is served no more, content and variants alike, by every replica: as
soon as it is told, and within `delivery.allowed_cache_seconds` even if nobody tells it.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from mediastore.app_keys import CATALOG
from mediastore.catalog.erasing import Scope, add_erasure, erase_objects, note_recorded
from mediastore.settings import Settings
from tests.integration.images.conftest import IMAGES, Keys
from tests.integration.images.test_serving import BROWSER, get, of
from tests.integration.service import (
    Connection,
    Service,
    bearer,
    running,
    settings_on,
    until,
    upload,
)
from tests.pictures import jpeg
from tests.vendors import purge_settings, vendors_answering

LINKS = {"keys": [{"id": "k1", "secret": "a secret of at least 32 characters"}]}


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    """Answers are believed for a minute: only being told makes a replica forget in time."""
    return settings_on(
        dsn, tmp_path, images=IMAGES, links=LINKS, delivery={"allowed_cache_seconds": 60}
    )


@pytest.fixture
async def replicas(settings: Settings, keys: Keys) -> AsyncIterator[tuple[Service, Service]]:
    async with running(settings) as one, running(settings) as other:
        yield one, other


async def urls_of(service: Service, key: str, made: dict[str, Any]) -> list[str]:
    """Every way to what anybody with the URL may read of an object."""
    links = f"/v1/objects/{made['id']}/links"
    urls = [
        of(made["blob"], rest) for rest in ("a.jpg", "preset-card/a.webp", "preset-card/a.auto")
    ]
    for asked in ({}, {"transform": "fill-40x40", "filename": "a.webp"}):
        async with service.client.post(links, json=asked, headers=bearer(key)) as response:
            assert response.status == 201, await response.text()
            urls.append((await response.json())["url"])
    return urls


async def statuses(services: tuple[Service, ...], urls: list[str]) -> set[int]:
    return {(await get(service, url, **BROWSER)).status for service in services for url in urls}


async def served(replicas: tuple[Service, Service], key: str) -> tuple[dict[str, Any], list[str]]:
    """An object that both replicas have served in every way, and its URLs."""
    made = await upload(replicas[0], key, jpeg(), owner="ada")
    urls = await urls_of(replicas[0], key, made)
    assert await statuses(replicas, urls) == {200}
    return made, urls


async def gone(replicas: tuple[Service, Service], urls: list[str]) -> None:
    async def everywhere() -> bool:
        return await statuses(replicas, urls) == {404}

    await until(everywhere)


async def test_a_deleted_object(replicas: tuple[Service, Service], keys: Keys) -> None:
    made, urls = await served(replicas, keys.public)
    url = f"/v1/objects/{made['id']}"
    async with replicas[0].client.delete(url, headers=bearer(keys.public)) as response:
        assert response.status == 200
    assert await statuses(replicas[:1], urls) == {404}  # where it was deleted: at once
    await gone(replicas, urls)


async def test_an_erased_object(replicas: tuple[Service, Service], keys: Keys) -> None:
    made, urls = await served(replicas, keys.public)
    catalog, erasure = replicas[0].app[CATALOG], uuid4()
    await add_erasure(catalog, erasure, Scope("public", object=UUID(made["id"])), "asked")
    await note_recorded(catalog, erasure)
    assert (await erase_objects(catalog, erasure, None))[0] == 1
    await gone(replicas, urls)


async def test_nobody_tells(dsn: str, tmp_path: Path, keys: Keys, connection: Connection) -> None:
    settings = settings_on(
        dsn, tmp_path, images=IMAGES, links=LINKS, delivery={"allowed_cache_seconds": 0.3}
    )
    async with running(settings) as one, running(settings) as other:
        _, urls = await served((one, other), keys.public)
        await connection.execute("UPDATE objects SET deleted_at = now(), purge_at = now()")
        await gone((one, other), urls)


async def test_the_cdn_is_told_by_the_tag_that_every_answer_had(
    dsn: str, tmp_path: Path, keys: Keys, connection: Connection
) -> None:
    async with vendors_answering() as vendors:
        purge = purge_settings(vendors, "fastly", "cloudflare", "cloudfront")
        settings = settings_on(
            dsn,
            tmp_path,
            images=IMAGES,
            links=LINKS,
            events={"poll_seconds": 0.01},
            delivery={"allowed_cache_seconds": 0.2},
            purge=purge | {"again_seconds": 0.3, "requests_per_second": 100},
        )
        async with running(settings) as one, running(settings) as other:

            async def wanted() -> bool:
                return bool(await connection.fetchval("SELECT count(*) = 3 FROM cdns"))

            await until(wanted)
            made, urls = await served((one, other), keys.public)
            tagged = [(await get(one, url, **BROWSER)).headers for url in urls]
            assert await connection.fetchval("SELECT count(*) FROM purges") == 0  # of variants
            url = f"/v1/objects/{made['id']}"
            async with one.client.delete(url, headers=bearer(keys.public)) as response:
                assert response.status == 200
            tag = f"blob-{made['blob']}"
            await until(lambda: len(vendors.purged) == 6)
            for cdn in ("cloudflare", "cloudfront"):
                assert vendors.of(cdn) == [tag, tag]
            assert vendors.of("fastly", soft=True) == vendors.of("fastly") == [tag]
            sent = {
                cdn: one.sample("cdn_purges_total", cdn=cdn, outcome="sent")
                + other.sample("cdn_purges_total", cdn=cdn, outcome="sent")
                for cdn in ("fastly", "cloudflare", "cloudfront")
            }
            assert set(sent.values()) == {2}
    for headers in tagged:
        assert tag in headers["Cache-Tag"].split(",")
        assert tag in headers["Surrogate-Key"].split(" ")
