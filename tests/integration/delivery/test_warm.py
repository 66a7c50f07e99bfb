"""What is answered before the application answers as the application does, byte for byte."""

from pathlib import Path
from typing import Any

import pytest

from mediastore.app_keys import OBSERVER
from mediastore.settings import Settings
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, bearer, settings_on, upload
from tests.integration.warm import KEY, Watched, both, get, growth, signed

BODY = b"a small picture, of one chunk" * 20
WARM, LEFT = True, False
ROUTE = "/media/{tenant}/{blob}/{filename}"


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_on(
        dsn,
        tmp_path,
        delivery={"allowed_cache_seconds": 60},
        links={"keys": [KEY]},
        cors={"allowed_origins": ["https://app.example"]},
    )


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), WARM),
        (("Accept: image/avif,*/*;q=0.8", "User-Agent: a browser"), WARM),
        (("Origin: https://app.example",), WARM),
        (("Origin: https://stranger.example",), WARM),
        (("X-Request-Id: from-the-app",), WARM),
        (('X-Request-Id: "x\\"',), WARM),
        (("Authorization: Bearer ms_wrong",), WARM),
        (("X-Forwarded-For: 192.0.2.1",), WARM),
        (("If-Range: Wed, 21 Oct 2015 07:28:00 GMT",), WARM),  # says nothing without Range
        (("Content-Length: 3",), WARM),
        (("Range: bytes=0-9",), LEFT),
        (("Range: bytes=5000-",), LEFT),
        (("Range: lines=1-2",), LEFT),
        (('If-None-Match: "another"',), LEFT),
        (("If-None-Match: *",), LEFT),
        (("If-Modified-Since: Wed, 21 Oct 2015 07:28:00 GMT",), LEFT),
        (('If-Match: "another"',), LEFT),
        (("If-Unmodified-Since: Wed, 21 Oct 2015 07:28:00 GMT",), LEFT),
        (("Want-Repr-Digest: sha-512=9",), LEFT),
        (("Want-Repr-Digest: sha-256=0",), LEFT),
        (("Expect: 100-continue",), LEFT),
    ],
)
async def test_by_header(
    keys: Keys, service: Service, watched: Watched, lines: tuple[str, ...], *, expected: bool
) -> None:
    made = await upload(service, keys.public, BODY, name="photo.jpg")
    body = b"abc" if "Content-Length: 3" in lines else b""
    request = get(made["links"]["media"], *lines) + body
    application, answered, warm = await both(service, watched, request)
    assert (answered, warm) == (application, expected)


@pytest.mark.parametrize(
    ("method", "version", "lines", "expected"),
    [
        ("GET", "1.0", (), WARM),
        ("GET", "1.0", ("Connection: keep-alive", "Keep-Alive: timeout=5"), WARM),
        ("HEAD", "1.1", (), LEFT),
        ("OPTIONS", "1.1", ("Origin: https://app.example",), LEFT),
        ("POST", "1.1", ("Content-Length: 0",), LEFT),
        ("DELETE", "1.1", (), LEFT),
    ],
)
async def test_by_method_and_version(
    keys: Keys,
    service: Service,
    watched: Watched,
    method: str,
    version: str,
    lines: tuple[str, ...],
    *,
    expected: bool,
) -> None:
    made = await upload(service, keys.public, BODY, name="photo.jpg")
    request = get(made["links"]["media"], *lines, method=method, version=version)
    if "Connection: keep-alive" in lines:  # what comes next ends the connection
        request += get("/healthz", "Connection: close", version=version)
    application, answered, warm = await both(service, watched, request)
    assert (answered, warm) == (application, expected)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/media/public/{blob}/photo.jpg", WARM),
        ("/media/public/{blob}/another-name", WARM),
        ("/media/public/{blob}/photo.jpg?", WARM),
        ("/media/public/{blob}/photo.jpg?w=100&exp=1&kid=x&sig=y", WARM),
        ("/media/public/{blob}/photo.jpg?a=%ff", WARM),
        ("/media/public/{blob}/photo%2ejpg", LEFT),
        ("/media/public/{blob}/..", WARM),
        ("/media/public/{blob}/photo.jpg#fragment", LEFT),
        ("/media/public/{blob}/photo.jpg/", LEFT),
        ("/media/public/{blob}/", LEFT),
        ("/media/public/{blob}", LEFT),
        ("//media/public/{blob}/photo.jpg", LEFT),
        ("/media/../media/public/{blob}/photo.jpg", LEFT),
        ("/media/PUBLIC/{blob}/photo.jpg", LEFT),
        ("/media/public/{upper}/photo.jpg", LEFT),
        ("/media/acme/{blob}/photo.jpg", LEFT),
        ("/media/nobody/{blob}/photo.jpg", LEFT),
        ("/media/public/{other}/photo.jpg", LEFT),
        ("http://media.example/media/public/{blob}/photo.jpg", LEFT),
    ],
)
async def test_by_target(
    keys: Keys, service: Service, watched: Watched, target: str, *, expected: bool
) -> None:
    made = await upload(service, keys.public, BODY, name="photo.jpg")
    blob = made["blob"]
    url = target.format(blob=blob, upper=blob.upper(), other=blob[::-1])
    application, answered, warm = await both(service, watched, get(url))
    assert (answered, warm) == (application, expected)


@pytest.mark.parametrize(("size", "expected"), [(0, LEFT), (8192, WARM), (200_000, LEFT)])
async def test_by_size(
    keys: Keys, service: Service, watched: Watched, size: int, *, expected: bool
) -> None:
    made = await upload(service, keys.public, bytes(size))
    application, answered, warm = await both(service, watched, get(made["links"]["media"]))
    assert (answered, warm) == (application, expected)


async def test_a_link(keys: Keys, service: Service, watched: Watched) -> None:
    made = await upload(service, keys.acme, BODY)
    path = f"/media/acme/{made['blob']}/photo.jpg"
    good = signed(path)
    expired, forged = signed(path, lasts_seconds=-7200), good[:-1] + "~"
    for url, expected in (
        (good, WARM),
        (good + "&x=1", LEFT),
        (expired, LEFT),
        (forged, LEFT),
        (signed(path, tenant="other"), LEFT),
        (path, LEFT),
    ):
        application, answered, warm = await both(service, watched, get(url))
        assert (answered, warm) == (application, expected), url
        assert answered.startswith(b"HTTP/1.1 200" if warm else b"HTTP/1.1 404")
    by_key = get(path, f"Authorization: Bearer {keys.acme}")
    application, answered, warm = await both(service, watched, by_key)
    assert (answered, warm) == (application, LEFT)
    assert answered.startswith(b"HTTP/1.1 200")


async def test_it_is_counted_as_any_other(keys: Keys, service: Service, watched: Watched) -> None:
    made = await upload(service, keys.public, BODY)
    request = get(made["links"]["media"])
    await service.raw(request)

    names: dict[str, dict[str, str]] = {
        "requests_total": {"method": "GET", "route": ROUTE, "status": "200"},
        "request_seconds_count": {"method": "GET", "route": ROUTE},
        "bytes_sent_total": {},
        "chunk_cache_requests_total": {"outcome": "hit"},
        "requests_in_progress": {},
    }
    watched.off = True
    application = await growth(service, request, names)
    watched.off = False
    assert await growth(service, request, names) == application
    assert application["requests_total"] == application["request_seconds_count"] == 1
    assert application["bytes_sent_total"] == len(BODY)


async def test_a_deleted_object_is_not_answered_from_memory(
    keys: Keys, service: Service, watched: Watched
) -> None:
    made = await upload(service, keys.public, BODY)
    request = get(made["links"]["media"])
    await both(service, watched, request)
    await service.raw(request)
    assert watched.answered
    watched.answered.clear()
    deleted: Any = service.client.delete(f"/v1/objects/{made['id']}", headers=bearer(keys.public))
    async with deleted as response:
        assert response.status == 200
    assert (await service.raw(request)).startswith(b"HTTP/1.1 404")
    assert not watched.answered


async def test_beyond_the_most_requests_it_is_refused_as_any_other(
    keys: Keys, service: Service, watched: Watched
) -> None:
    made = await upload(service, keys.public, BODY)
    observer = service.app[OBSERVER]
    observer.in_progress_max = 0
    application, answered, warm = await both(service, watched, get(made["links"]["media"]))
    assert (answered, warm) == (application, LEFT)
    assert answered.startswith(b"HTTP/1.1 503")
