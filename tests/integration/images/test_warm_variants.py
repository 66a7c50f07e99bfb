"""Variants that are there are answered before the application answers, and as it does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediastore.settings import Settings
from tests.integration.images.conftest import IMAGES, Keys
from tests.integration.service import Service, bearer, running, settings_on, upload
from tests.integration.warm import KEY, Watched, both, get, growth, signed
from tests.pictures import encoded, photo

WARM, LEFT = True, False
ROUTE = "/media/{tenant}/{blob}/{transform}/{filename}"
BROWSER = "Accept: image/webp,image/apng,*/*;q=0.8"


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_on(
        dsn,
        tmp_path,
        images=IMAGES,
        delivery={"allowed_cache_seconds": 60},
        links={"keys": [KEY]},
        cors={"allowed_origins": ["https://app.example"]},
    )


@pytest.fixture
async def service(settings: Settings, keys: Keys) -> AsyncIterator[Service]:
    async with running(settings) as started:
        yield started


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


@pytest.fixture
def picture() -> bytes:
    return encoded(photo(400, 300, seed=1))


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("preset-card/p.webp", (), WARM),
        ("preset-card/p.jpg", ("Origin: https://app.example",), WARM),
        ("preset-card/p.auto", (), WARM),
        ("preset-card/p.auto", (BROWSER,), WARM),
        ("preset-card/p.auto", ("Accept: image/webp", "Accept: */*;q=0.1"), WARM),
        ("preset-card/p.auto", ("Accept: image/webp;q=0, " + 50 * "image/x, ",), LEFT),
        ("preset-card/p.auto", ("Accept: text/html",), LEFT),  # nothing that it may be sent
        ("preset-card/p.webp", ("Range: bytes=0-9",), LEFT),
        ("preset-card/p.webp", ("If-None-Match: *",), LEFT),
        ("preset-card/p.webp?a=b", (), WARM),
        ("preset-nothing/p.webp", (), LEFT),
        ("preset-card/p.JPG", (), LEFT),  # redirected
        ("preset-card/%70.webp", (), LEFT),
        ("preset-card/p.webp/", (), LEFT),
        ("fit-100x0/p.webp", (), LEFT),  # free, and not signed
    ],
)
async def test_of_a_public_tenant(
    keys: Keys,
    service: Service,
    watched: Watched,
    picture: bytes,
    name: str,
    lines: tuple[str, ...],
    *,
    expected: bool,
) -> None:
    made = await upload(service, keys.public, picture, content_type="image/jpeg")
    request = get(f"/media/public/{made['blob']}/{name}", *lines)
    await service.raw(request)  # made, and not yet known to be there
    application, answered, warm = await both(service, watched, request)
    assert (answered, warm) == (application, expected)


async def test_by_link_and_key(
    keys: Keys, service: Service, watched: Watched, picture: bytes
) -> None:
    made = await upload(service, keys.acme, picture, content_type="image/jpeg")
    for transform in ("fit-100x0", "preset-card"):
        path = f"/media/acme/{made['blob']}/{transform}/p.webp"
        good = signed(path)
        await service.raw(get(good))
        for request, expected in (
            (get(good), WARM),
            (get(good[:-1] + "~"), LEFT),
            (get(signed(path, tenant="other")), LEFT),
            (get(path), LEFT),
            (get(path, f"Authorization: Bearer {keys.acme}"), LEFT),
            (get(path, f"Authorization: Bearer {keys.public}"), LEFT),
        ):
            application, answered, warm = await both(service, watched, request)
            assert (answered, warm) == (application, expected)


async def test_what_a_key_or_link_was_given_is_not_open_to_others(
    keys: Keys, service: Service, watched: Watched, picture: bytes
) -> None:
    """Free parameters need a signature in a public tenant too, though the picture is in memory."""
    made = await upload(service, keys.public, picture, content_type="image/jpeg")
    path = f"/media/public/{made['blob']}/fit-100x0/p.webp"
    good = signed(path, tenant="public")
    for request in (get(path, f"Authorization: Bearer {keys.public}"), get(good), get(good)):
        assert (await service.raw(request)).startswith(b"HTTP/1.1 200")
    assert watched.answered == [good]
    application, answered, warm = await both(service, watched, get(path))
    assert (answered, warm) == (application, LEFT)
    assert answered.startswith(b"HTTP/1.1 404")


async def test_the_answer_follows_accept(
    keys: Keys, service: Service, watched: Watched, picture: bytes
) -> None:
    """What one client was sent is not what the next one gets."""
    made = await upload(service, keys.public, picture, content_type="image/jpeg")
    url = f"/media/public/{made['blob']}/preset-card/p.auto"
    sent = {}
    for accept in ("image/webp", "image/jpeg", "*/*"):
        request = get(url, f"Accept: {accept}")
        last = [await service.raw(request) for _ in range(3)][-1]
        assert b"\r\nVary: Accept" in last
        sent[accept] = last.partition(b"Content-Type: ")[2].partition(b"\r\n")[0]
    assert list(sent.values()) == [b"image/webp", b"image/jpeg", b"image/jpeg"]
    assert len(watched.answered) >= 3


async def test_avif_replaces_what_was_sent_in_its_stead(
    keys: Keys, service: Service, watched: Watched, picture: bytes
) -> None:
    """A provisional answer is not remembered, or AVIF would never be sent."""
    made = await upload(service, keys.public, picture, content_type="image/jpeg")
    request = get(f"/media/public/{made['blob']}/preset-card/p.auto", "Accept: image/avif,*/*")
    first = await service.raw(request)
    assert b"Content-Type: image/jpeg" in first
    async with asyncio.timeout(40):  # less than the source is believed
        while b"Content-Type: image/avif" not in await service.raw(request):
            pass
    watched.answered.clear()
    assert b"Content-Type: image/avif" in await service.raw(request)
    assert watched.answered


async def test_it_is_counted_as_any_other(
    keys: Keys, service: Service, watched: Watched, picture: bytes
) -> None:
    made = await upload(service, keys.public, picture, content_type="image/jpeg")
    request = get(f"/media/public/{made['blob']}/preset-card/p.webp")
    for _ in range(2):
        await service.raw(request)
    names: dict[str, dict[str, str]] = {
        "requests_total": {"method": "GET", "route": ROUTE, "status": "200"},
        "bytes_sent_total": {},
        "variant_lookups_total": {"outcome": "hit"},
    }
    watched.off = True
    application = await growth(service, request, names)
    watched.off = False
    watched.answered.clear()
    assert await growth(service, request, names) == application
    assert watched.answered
    assert application["requests_total"] == 1
    assert application["variant_lookups_total"] == 1


async def test_of_a_deleted_picture_nothing_is_answered_from_memory(
    keys: Keys, service: Service, watched: Watched, picture: bytes
) -> None:
    made = await upload(service, keys.public, picture, content_type="image/jpeg")
    request = get(f"/media/public/{made['blob']}/preset-card/p.webp")
    for _ in range(3):
        await service.raw(request)
    assert watched.answered
    deleted = service.client.delete(f"/v1/objects/{made['id']}", headers=bearer(keys.public))
    async with deleted as response:
        assert response.status == 200
    watched.answered.clear()
    assert (await service.raw(request)).startswith(b"HTTP/1.1 404")
    assert not watched.answered
