"""IETF draft, section Integrity Digests; RFC 9530."""

from base64 import b64encode
from hashlib import sha256

import asyncpg
import pytest

from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.ietf import client_of, content, content_of, created


def digest(data: bytes) -> str:
    return f"sha-256=:{b64encode(sha256(data).digest()).decode()}:"


@pytest.mark.parametrize("version", [3, 8, None])
@pytest.mark.parametrize("size", [10, 200_000])
async def test_content_with_its_digest_is_taken(
    start: Starter, version: int | None, size: int
) -> None:
    service = await start(uploads={"batch_max_bytes": 65_536})
    client, data = client_of(service, version), content(size)
    half = size // 2
    url = await created(client, data[:half], Content_Digest=digest(data[:half]))
    final = await client.append(
        url, half, data[half:], complete=True, Content_Digest=digest(data[half:])
    )
    assert await content_of(service, final) == data


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("size", [10, 200_000])
async def test_content_with_another_digest_is_not_appended(
    start: Starter, complete: bool, size: int
) -> None:
    service = await start(uploads={"batch_max_bytes": 65_536})
    client, data = client_of(service), content(size)
    url = await created(client, b"abc")
    wrong = await client.append(
        url, 3, data, complete=complete, Content_Digest=digest(b"something else")
    )
    assert (wrong.status, wrong.json()["code"]) == (400, "content_digest_mismatch")
    assert (wrong.offset, wrong.headers["Upload-Complete"]) == (3, "?0")
    assert (await client.offset(url)).offset == 3
    final = await client.append(url, 3, data, complete=True, Content_Digest=digest(data))
    assert await content_of(service, final) == b"abc" + data


@pytest.mark.parametrize("version", [8, None])
async def test_a_creation_whose_content_has_another_digest(
    service: Service, version: int | None, sql: asyncpg.Connection
) -> None:
    """With a 104 the upload is there and empty; without, there is nothing."""
    client = client_of(service, version)
    answer = await client.create(b"abc", complete=True, Content_Digest=digest(b"abd"))
    assert (answer.status, answer.json()["code"]) == (400, "content_digest_mismatch")
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0
    offsets = [row["offset"] for row in await sql.fetch('SELECT "offset" FROM uploads')]
    assert offsets == ([0] if version == 8 else [])


@pytest.mark.parametrize("version", [8, None])
async def test_a_representation_digest_is_checked_at_the_end(
    service: Service, version: int | None
) -> None:
    client, data = client_of(service, version), content(30_000)
    url = await created(client, data[:10_000], Repr_Digest=digest(data))
    final = await client.append(url, 10_000, data[10_000:], complete=True)
    assert await content_of(service, final) == data
    url = await created(client, data[:10_000], Repr_Digest=digest(data))
    wrong = await client.append(url, 10_000, data[10_001:], complete=True)
    assert (wrong.status, wrong.json()["code"]) == (400, "bad_digest")
    assert wrong.headers["Upload-Complete"] == "?1"  # resuming would not help
    assert (await client.offset(url)).status == 404


@pytest.mark.parametrize("field", ["Content_Digest", "Repr_Digest", "Want_Repr_Digest"])
async def test_digest_fields_that_are_not_valid(
    service: Service, field: str, sql: asyncpg.Connection
) -> None:
    answer = await client_of(service).create(b"abc", complete=True, **{field: "sha-256=nothing"})
    assert (answer.status, answer.json()["code"]) == (400, "bad_checksum")
    assert answer.interim == []
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0


async def test_a_digest_that_is_wanted_comes_with_the_final_response(service: Service) -> None:
    client = client_of(service)
    want = {"Want_Repr_Digest": "sha-512=1, sha-256=5"}
    unknown = await client.create(b"abc", complete=True, **want)
    assert "Repr-Digest" not in unknown.headers
    declared = await client.create(b"abc", complete=True, Repr_Digest=digest(b"abc"), **want)
    assert declared.headers["Repr-Digest"] == digest(b"abc")
    url = await created(client, b"ab")
    final = await client.append(url, 2, b"c", complete=True, **want)
    assert final.headers["Repr-Digest"] == digest(b"abc")
    again = await client.append(url, 3, b"", complete=True, **want)
    assert again.headers["Repr-Digest"] == digest(b"abc")


@pytest.mark.parametrize("declared", [{}, {"Repr_Digest": digest(b"another")}])
async def test_a_representation_digest_that_comes_late_is_not_passed_over(
    service: Service, declared: dict[str, str]
) -> None:
    """Nothing has computed it from the first byte on: it is refused before any content is read."""
    client = client_of(service)
    url = await created(client, b"ab", **declared)
    late = await client.append(url, 2, b"c", complete=True, Repr_Digest=digest(b"abc"))
    assert (late.status, late.json()["code"]) == (400, "bad_checksum")
    assert late.headers["Upload-Complete"] == "?0"
    assert (await client.offset(url)).offset == 2


async def test_a_representation_digest_may_be_said_again(service: Service) -> None:
    client = client_of(service)
    said = {"Repr_Digest": digest(b"abc")}
    url = await created(client, b"ab", **said)
    final = await client.append(url, 2, b"c", complete=True, **said)
    assert await content_of(service, final) == b"abc"
