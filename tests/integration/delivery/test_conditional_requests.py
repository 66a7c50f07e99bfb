"""RFC 9110, section 13 over HTTP: what each status carries, and that HEAD says what GET would."""

import re

import pytest

from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, bearer, upload

BEFORE, AFTER = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
REPEATED = ("Cache-Control", "CDN-Cache-Control", "ETag", "Last-Modified", "Date", "Vary")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("section", "fields", "status"),
    [
        ("13.1.1", {"If-Match": "TAG"}, 200),
        ("13.1.1", {"If-Match": '"other"'}, 412),
        ("13.1.1 strong", {"If-Match": "W/TAG"}, 412),
        ("13.1.2", {"If-None-Match": "TAG"}, 304),
        ("13.1.2 weak", {"If-None-Match": "W/TAG"}, 304),
        ("13.1.2 any", {"If-None-Match": "*"}, 304),
        ("13.1.2", {"If-None-Match": '"other"'}, 200),
        ("13.1.3", {"If-Modified-Since": AFTER}, 304),
        ("13.1.3", {"If-Modified-Since": BEFORE}, 200),
        ("13.1.3 not a date", {"If-Modified-Since": "1"}, 200),
        ("13.1.4", {"If-Unmodified-Since": BEFORE}, 412),
        ("13.1.4", {"If-Unmodified-Since": AFTER}, 200),
        ("13.2.2 1 before 2", {"If-Match": "TAG", "If-Unmodified-Since": BEFORE}, 200),
        ("13.2.2 1 before 3", {"If-Match": '"other"', "If-None-Match": "TAG"}, 412),
        ("13.2.2 2 before 3", {"If-Unmodified-Since": BEFORE, "If-None-Match": "TAG"}, 412),
        ("13.2.2 3 before 4", {"If-None-Match": '"other"', "If-Modified-Since": AFTER}, 200),
        ("13.2.2 4 before 5", {"If-Modified-Since": AFTER, "Range": "bytes=0-1"}, 304),
        ("13.2.2 412 before 416", {"If-Match": '"other"', "Range": "bytes=99-"}, 412),
    ],
)
async def test_the_table(
    keys: Keys, service: Service, method: str, section: str, fields: dict[str, str], status: int
) -> None:
    made = await upload(service, keys.public, b"0123456789")
    tag = f'"{made["blob"]}"'
    headers = {name: value.replace("TAG", tag) for name, value in fields.items()}
    async with service.client.request(method, made["links"]["media"], headers=headers) as response:
        assert response.status == status, section
        assert "Transfer-Encoding" not in response.headers
        if status != 304:
            assert "Content-Length" in response.headers
    if status == 304:
        async with service.client.get(made["links"]["media"]) as whole:
            for name in REPEATED:  # 15.4.5
                assert (name in response.headers) == (name in whole.headers)
                if name != "Date":
                    assert response.headers.get(name) == whole.headers.get(name)


@pytest.mark.parametrize(
    ("section", "method", "fields", "status"),
    [
        ("14.2", "GET", {}, 206),
        ("14.2 for GET alone", "HEAD", {}, 200),
        ("13.1.5 strong", "GET", {"If-Range": "TAG"}, 206),
        ("13.1.5 weak", "GET", {"If-Range": "W/TAG"}, 200),
        ("13.1.5 other", "GET", {"If-Range": '"other"'}, 200),
        ("13.1.5 date", "GET", {"If-Range": "MODIFIED"}, 206),
        ("13.1.5 exactly", "GET", {"If-Range": AFTER}, 200),
        ("13.1.5 earlier", "GET", {"If-Range": BEFORE}, 200),
        ("14.2 unknown unit", "GET", {"Range": "seconds=0-1"}, 200),
        ("14.2 not valid", "GET", {"Range": "bytes=5-4"}, 200),
        ("14.1.2 all of it", "GET", {"Range": "bytes=0-"}, 206),
        ("14.1.2 suffix", "GET", {"Range": "bytes=-3"}, 206),
        ("15.5.17", "GET", {"Range": "bytes=10-"}, 416),
        ("13.1.5 before 416", "GET", {"Range": "bytes=10-", "If-Range": '"other"'}, 200),
    ],
)
async def test_ranges_and_their_conditions(
    keys: Keys, service: Service, section: str, method: str, fields: dict[str, str], status: int
) -> None:
    made = await upload(service, keys.public, b"0123456789")
    url = made["links"]["media"]
    async with service.client.head(url) as head:
        modified = head.headers["Last-Modified"]
    headers = {
        name: value.replace("TAG", f'"{made["blob"]}"').replace("MODIFIED", modified)
        for name, value in ({"Range": "bytes=2-4"} | fields).items()
    }
    async with service.client.request(method, url, headers=headers) as response:
        assert response.status == status, section
        if status == 206:
            assert len(await response.read()) == int(response.headers["Content-Length"])
            assert response.headers["ETag"] == f'"{made["blob"]}"'  # 15.3.7: what a 200 says
        if status == 416:
            assert response.headers["Content-Range"] == "bytes */10"


async def test_repr_digest_is_of_the_whole(keys: Keys, service: Service) -> None:
    """RFC 9530, section 3: the same in a 206; kept from the upload that declared it."""
    digest = "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:"
    headers = bearer(keys.public) | {"Content-Type": "image/png", "Repr-Digest": digest}
    async with service.client.post("/v1/objects", data=b"0123456789", headers=headers) as made:
        assert made.status == 201
        url = (await made.json())["links"]["media"]
    for fields, status, expected in (
        ({}, 200, digest),
        ({"Range": "bytes=2-4"}, 206, digest),
        ({"Want-Repr-Digest": "sha-512=9, sha-256=1"}, 200, digest),
        ({"Want-Repr-Digest": "sha-256=0"}, 200, None),
    ):
        async with service.client.get(url, headers=fields) as response:
            assert response.status == status
            assert response.headers.get("Repr-Digest") == expected


async def test_what_a_cache_and_a_browser_are_told(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.public, b"0123456789")
    async with service.client.get(made["links"]["media"]) as response:
        assert response.headers["Cache-Status"].startswith("mediastore; ")
        assert re.fullmatch(r"read;desc=miss;dur=[0-9]+\.[0-9]", response.headers["Server-Timing"])
    async with service.client.get(made["links"]["media"]) as response:
        assert response.headers["Cache-Status"] == "mediastore; hit"  # RFC 9211
        assert response.headers["Server-Timing"] == "read;desc=hit;dur=0"
        assert f"object-{made['id']}" in response.headers["Cache-Tag"].split(",")
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
