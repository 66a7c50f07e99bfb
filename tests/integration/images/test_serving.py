"""The URL of pictures: one for each meaning, for those who may, in a format that they can show."""

from dataclasses import dataclass
from typing import Any

import pytest
from yarl import URL

from mediastore.app_keys import AUTHENTICATOR, CATALOG
from mediastore.catalog.tenants import change_tenant
from tests.integration.images.conftest import Keys
from tests.integration.service import Connection, Service, bearer, until, upload
from tests.pictures import animation, decoded, jpeg
from tests.recount_exact import assert_references_exact

BROWSER = {"Accept": "image/avif,image/webp,image/apng,image/*,*/*;q=0.8"}


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: Any
    body: bytes

    @property
    def seconds(self) -> int:
        """How long caches keep it."""
        parts = self.headers["Cache-Control"].replace(" ", "").split(",")
        (age,) = [part for part in parts if part.startswith("max-age=")]
        return int(age.removeprefix("max-age="))


async def get(service: Service, url: str, method: str = "GET", **headers: str) -> Answered:
    async with service.client.request(
        method, url, headers=headers, allow_redirects=False
    ) as response:
        return Answered(response.status, response.headers.copy(), await response.read())


@pytest.fixture
async def blob(service: Service, keys: Keys) -> str:
    """A photo of the public tenant."""
    return str((await upload(service, keys.public, jpeg(), owner="ada"))["blob"])


@pytest.fixture
async def private(service: Service, keys: Keys) -> str:
    return str((await upload(service, keys.acme, jpeg(seed=2)))["blob"])


def of(blob: str, rest: str, tenant: str = "public") -> str:
    return f"/media/{tenant}/{blob}/{rest}"


async def test_a_preset_of_a_public_tenant(
    service: Service, blob: str, connection: Connection
) -> None:
    first = await get(service, of(blob, "preset-card/photo.webp"))
    assert (first.status, first.headers["Content-Type"]) == (200, "image/webp")
    assert decoded(first.body).size == (90, 60)
    assert first.headers["Content-Disposition"] == 'inline; filename="photo.webp"'
    assert f"blob-{blob}" in first.headers["Cache-Tag"]
    assert "Vary" not in first.headers
    again = await get(service, of(blob, "preset-card/photo.webp"))
    assert again.body == first.body
    assert service.sample("variants_total", outcome="made") == 1
    tag = first.headers["ETag"]
    same = await get(service, of(blob, "preset-card/photo.webp"), **{"If-None-Match": tag})
    assert (same.status, same.headers["ETag"]) == (304, tag)
    part = await get(service, of(blob, "preset-card/photo.webp"), Range="bytes=2-5")
    assert (part.status, part.body) == (206, first.body[2:6])
    head = await get(service, of(blob, "preset-card/photo.webp"), "HEAD")
    assert int(head.headers["Content-Length"]) == len(first.body)
    assert await connection.fetchval("SELECT count(*) FROM objects") == 1
    assert await connection.fetchval("SELECT count(*) FROM variant_jobs") == 0
    await assert_references_exact(connection)


async def test_parameters_that_anybody_could_make_up_need_a_key(
    service: Service, keys: Keys, blob: str, private: str
) -> None:
    assert (await get(service, of(blob, "fit-50x0/a.jpg"))).status == 404
    assert (await get(service, of(blob, "fit-50x0/a.jpg"), **bearer(keys.public))).status == 200
    assert (await get(service, of(blob, "fit-50x0/a.jpg"), **bearer(keys.acme))).status == 404
    for rest in ("preset-card/a.jpg", "fit-50x0/a.jpg"):
        url = of(private, rest, "acme")
        assert (await get(service, url)).status == 404
        made = await get(service, url, **bearer(keys.acme))
        assert made.status == 200
        assert made.headers["Cache-Control"].startswith("private")


async def test_a_hash_gives_nothing(service: Service, keys: Keys, private: str) -> None:
    """INV-10: pictures are read by a live object of the source, of that tenant."""
    url = of(private, "preset-card/a.jpg", "public")
    assert (await get(service, url, **bearer(keys.public))).status == 404
    made = await get(service, of(private, "fit-50x0/a.jpg", "acme"), **bearer(keys.acme))
    result = made.headers["ETag"].strip('"')
    direct = await get(service, of(result, "a.jpg", "acme"), **bearer(keys.acme))
    assert direct.status == 404


async def test_a_deleted_object_takes_its_pictures_along(service: Service, keys: Keys) -> None:
    made = await upload(service, keys.public, jpeg(seed=3))
    url = of(made["blob"], "preset-card/a.jpg")
    assert (await get(service, url)).status == 200
    object_url = f"/v1/objects/{made['id']}"
    assert (await get(service, object_url, "DELETE", **bearer(keys.public))).status == 200

    async def gone() -> bool:
        return (await get(service, url)).status == 404

    await until(gone)


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("q-80_fit-50x0/a.jpg", "../fit-50x0/a.jpg"),
        ("fit-50x0_dpr-2/a.jpeg", "../fit-100x0/a.jpg"),
        ("fit-50x0/a%20b%2Fc.JPG", "../fit-50x0/a%20b%2Fc.jpg"),
        ("fit-50x0_still/a.png", "../fit-50x0/a.png"),
        ("dpr-1_preset-card/a.auto", "../preset-card/a.auto"),
    ],
)
async def test_one_meaning_has_one_url(service: Service, asked: str, location: str) -> None:
    url = URL(f"http://127.0.0.1:{service.port}{of('00' * 32, asked)}", encoded=True)
    async with service.client.get(url, allow_redirects=False) as response:
        assert response.status == 308
        assert response.headers["Location"] == location
        assert ("Vary" in response.headers) == asked.endswith("auto")


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ("fit-50x0/a", "bad_transform"),
        ("fit-50x0/a.exe", "bad_transform"),
        ("fit-50x0/.jpg", "bad_transform"),
        ("nonsense/a.jpg", "bad_transform"),
        ("fit-50x0_bytes-5000/a.png", "bad_transform"),
        ("preset-nothing/a.jpg", "bad_transform"),
    ],
)
async def test_what_means_nothing(
    service: Service, keys: Keys, blob: str, rest: str, code: str
) -> None:
    answered = await get(service, of(blob, rest), **bearer(keys.public))
    assert answered.status == 400
    assert f'"code": "{code}"'.encode() in answered.body


async def test_what_is_no_picture_gets_a_clear_answer_and_is_not_tried_again(
    service: Service, keys: Keys, connection: Connection
) -> None:
    made = await upload(service, keys.public, b"hello, I am text")
    url = of(made["blob"], "preset-card/a.jpg")
    for _ in range(3):
        answered = await get(service, url)
        assert answered.status == 422
        assert b'"code": "image_refused"' in answered.body
    assert service.sample("variants_total", outcome="refused") <= 3
    assert await connection.fetchval("SELECT failed FROM variant_jobs") == "image_refused"
    assert service.sample("image_seconds_count") == 1


async def test_a_tenants_own_presets_come_first(service: Service, blob: str) -> None:
    catalog = service.app[CATALOG]
    await change_tenant(catalog, "public", {"image_presets": "card=fill-40x40,own=fit-30x0"})
    service.app[AUTHENTICATOR].policies._believed.clear()  # the change is taken up within seconds
    own = await get(service, of(blob, "preset-own/a.png"))
    assert decoded(own.body).size == (30, 22)
    assert decoded((await get(service, of(blob, "preset-card/a.png"))).body).size == (40, 40)
    assert decoded((await get(service, of(blob, "preset-wide_dpr-2/a.png"))).body).size[0] == 400
    assert own.seconds == 86_400
    assert "immutable" not in own.headers["Cache-Control"]


async def test_free_parameters_are_for_good(service: Service, keys: Keys, blob: str) -> None:
    answered = await get(service, of(blob, "fit-50x0/a.jpg"), **bearer(keys.public))
    assert "immutable" in answered.headers["Cache-Control"]


# Negotiation


async def test_auto_sends_the_next_best_until_avif_is_there(service: Service, blob: str) -> None:
    url = of(blob, "preset-card/photo.auto")
    first = await get(service, url, **BROWSER)
    assert (first.status, first.headers["Content-Type"]) == (200, "image/webp")
    assert first.headers["Content-Location"] == "../preset-card/photo.webp"
    assert first.headers["Vary"] == "Accept"
    assert first.seconds == 30
    assert first.headers["Content-Disposition"] == 'inline; filename="photo.webp"'

    async def avif() -> bool:
        answered = await get(service, url, **BROWSER)
        return str(answered.headers["Content-Type"]) == "image/avif"

    await until(avif)
    later = await get(service, url, **BROWSER)
    assert later.headers["Content-Location"] == "../preset-card/photo.avif"
    assert later.seconds == 86_400
    assert decoded(later.body).size == (90, 60)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("image/webp", "image/webp"),
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/avif;q=0,image/webp", "image/webp"),
        ("image/webp;q=0.1,image/jpeg", "image/jpeg"),
        ("image/avif", "image/avif"),
        ("", "image/jpeg"),
    ],
)
async def test_what_a_client_names_decides(
    service: Service, blob: str, accept: str, content_type: str
) -> None:
    answered = await get(service, of(blob, "preset-card/a.auto"), Accept=accept)
    assert answered.headers["Content-Type"] == content_type
    assert answered.headers["Vary"] == "Accept"
    assert answered.seconds == 86_400


async def test_every_answer_of_a_negotiated_url_varies(
    service: Service, keys: Keys, blob: str
) -> None:
    text = await upload(service, keys.public, b"hello, I am text")
    url, web = of(blob, "preset-card/a.auto"), {"Accept": "image/webp"}
    tag = (await get(service, url, **web)).headers["ETag"]
    for status, answered in (
        (406, await get(service, url, Accept="image/jpeg;q=0,image/webp;q=0")),
        (404, await get(service, of("00" * 32, "preset-card/a.auto"), **web)),
        (400, await get(service, of(blob, "nonsense/a.auto"), **web)),
        (422, await get(service, of(text["blob"], "preset-card/a.auto"), **web)),
        (304, await get(service, url, **web, **{"If-None-Match": tag})),
        (412, await get(service, url, **web, **{"If-Match": '"x"'})),
        (416, await get(service, url, **web, Range="bytes=9999999-")),
        (206, await get(service, url, **web, Range="bytes=0-1")),
        (401, await get(service, of(blob, "fit-9x9/a.auto"), **web, **bearer("ms_wrong"))),
    ):
        assert answered.status == status
        assert answered.headers["Vary"] == "Accept", status
        if status < 400:
            assert answered.headers["Content-Location"] == "../preset-card/a.webp"


async def test_an_animation_stays_one(service: Service, keys: Keys) -> None:
    made = await upload(service, keys.public, animation(3), content_type="image/gif")
    url = of(made["blob"], "preset-card/a.auto")
    for _ in range(2):
        answered = await get(service, url, **BROWSER)
        assert answered.headers["Content-Type"] == "image/webp"
        assert getattr(decoded(answered.body), "n_frames", 1) == 3
        assert answered.seconds == 86_400
    still = await get(service, of(made["blob"], "preset-card/a.avif"))
    assert still.headers["Content-Type"] == "image/avif"
    assert (await get(service, url, **BROWSER)).headers["Content-Type"] == "image/webp"
