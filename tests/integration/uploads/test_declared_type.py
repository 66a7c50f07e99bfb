"""Declared type against content, by policy, however the bytes come."""

import hashlib
from base64 import b64encode
from itertools import pairwise
from uuid import UUID

import asyncpg
import pytest

from mediastore.catalog.objects import get_object
from mediastore.content.sniffing import SNIFFED_BYTES
from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.policies import set_policy
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, patch
from tests.samples import HTML, SAMPLES, SVG, png

PICTURE = png() + content(20_000)
POLICIES = ("trust", "correct", "refuse")


async def raw(service: Service, body: bytes, declared: str) -> tuple[int, str]:
    """The status, and the stored type or the error's code."""
    answer = await service.client.post(
        "/v1/objects", data=body, headers={**service.bearer, "Content-Type": declared}
    )
    document = await answer.json()
    return answer.status, document["content_type" if answer.status == 201 else "code"]


def declares(content_type: str) -> dict[str, str]:
    return {"Upload-Metadata": f"filetype {b64encode(content_type.encode()).decode()}"}


async def tus(service: Service, pieces: list[bytes], declared: str) -> tuple[int, str]:
    """The content in a PATCH for each piece."""
    url = await create(service, sum(map(len, pieces)), **declares(declared))
    offset = 0
    for piece in pieces:
        headers = {**service.tus, **PATCH_TYPE, "Upload-Offset": str(offset)}
        answer = await service.client.patch(url, data=piece, headers=headers)
        if answer.status != 204:
            assert (await service.client.head(url, headers=service.tus)).status == 404
            return answer.status, (await answer.json())["code"]
        offset += len(piece)
    made = await get_object(service.catalog, "acme", UUID(url.rpartition("/")[2]))
    assert made is not None
    return 201, made.content_type


async def with_creation(service: Service, body: bytes, declared: str) -> tuple[int, str]:
    headers = {
        **service.tus,
        **PATCH_TYPE,
        **declares(declared),
        "Upload-Length": str(len(body)),
    }
    answer = await service.client.post("/v1/uploads", data=body, headers=headers)
    if answer.status != 201:
        return answer.status, (await answer.json())["code"]
    id_ = UUID(answer.headers["Location"].rpartition("/")[2])
    made = await get_object(service.catalog, "acme", id_)
    assert made is not None
    return 201, made.content_type


async def assert_nothing_is_left(sql: asyncpg.Connection) -> None:
    """No object, no upload; every reference is on its way out."""
    for table in ("objects", "uploads", "upload_chunks", "blobs"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0
    released = await sql.fetchval("SELECT coalesce(sum(length(entries) / 40), 0) FROM unlinking")
    assert released == await sql.fetchval("SELECT coalesce(sum(refs), 0) FROM chunks")


CASES = [
    # declared, content, what `correct` stores; None: no contradiction
    ("image/png", PICTURE, None),
    ("image/jpeg", PICTURE, "image/png"),
    ("image/png", SVG, "image/svg+xml"),
    ("image/png", HTML, "text/html"),
    ("image/svg+xml", HTML, "text/html"),
    ("image/svg+xml; charset=utf-8", SVG, None),
    ("image/png", content(20_000), "application/octet-stream"),
    ("text/plain", b"just text", None),
    ("video/quicktime", SAMPLES["video/mp4"][0], None),
]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("declared", "body", "truth"), CASES)
async def test_the_policy_s_matrix(
    service: Service,
    sql: asyncpg.Connection,
    policy: str,
    declared: str,
    body: bytes,
    truth: str | None,
) -> None:
    await set_policy(service, type_mismatch=policy)
    half = len(body) // 2
    expected: tuple[int, str] = (201, declared)
    if truth is not None and policy == "refuse":
        expected = (422, "type_mismatch")
    elif truth is not None and policy == "correct":
        expected = (201, truth)
    assert await raw(service, body, declared) == expected
    assert await tus(service, [body[:half], body[half:]], declared) == expected
    assert await with_creation(service, body, declared) == expected
    if expected[0] == 422:
        await assert_nothing_is_left(sql)


async def test_no_policy_is_trust_and_looks_at_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("mediastore.uploads.declared_type.sniffed_type")
    assert await raw(service, HTML, "image/png") == (201, "image/png")
    assert await tus(service, [b"<", HTML[1:]], "image/png") == (201, "image/png")


@pytest.mark.parametrize(
    "cuts",
    [[1], [1, 2, 3], [100], [SNIFFED_BYTES - 1], [SNIFFED_BYTES], [4000, 8000, 12_000]],
    ids=str,
)
async def test_small_requests_do_not_slip_past(
    service: Service, sql: asyncpg.Connection, cuts: list[int]
) -> None:
    """What the first requests brought too little of to tell is read back when more comes."""
    page = HTML + content(20_000)
    edges = [0, *cuts, len(page)]
    pieces = [page[start:end] for start, end in pairwise(edges)]
    await set_policy(service, type_mismatch="refuse")
    assert await tus(service, pieces, "image/png") == (422, "type_mismatch")
    await assert_nothing_is_left(sql)
    await set_policy(service, type_mismatch="correct")
    assert await tus(service, pieces, "image/png") == (201, "text/html")
    picture = [PICTURE[start:end] for start, end in pairwise([0, *cuts, len(PICTURE)])]
    assert await tus(service, picture, "image/png") == (201, "image/png")


@pytest.mark.parametrize("policy", ["correct", "refuse"])
async def test_a_body_that_is_verified_whole_is_looked_at_once(
    start: Starter, sql: asyncpg.Connection, policy: str
) -> None:
    """With a checksum its batches are staged: only the first of them has the first bytes."""
    service = await start(uploads={"batch_max_bytes": 64 * 1024})
    await set_policy(service, type_mismatch=policy)
    page = HTML + content(300_000)
    checksum = b64encode(hashlib.sha256(page).digest()).decode()
    url = await create(service, len(page), **declares("image/png"))
    headers = {**service.tus, **PATCH_TYPE, "Upload-Offset": "0"}
    answer = await service.client.patch(
        url, data=page, headers=headers | {"Upload-Checksum": f"sha256 {checksum}"}
    )
    if policy == "refuse":
        assert answer.status == 422
        await assert_nothing_is_left(sql)
        return
    assert answer.status == 204
    made = await get_object(service.catalog, "acme", UUID(url.rpartition("/")[2]))
    assert made is not None
    assert made.content_type == "text/html"


async def test_an_upload_that_was_whole_before_anybody_looked(
    service: Service, sql: asyncpg.Connection
) -> None:
    """Its process died between the last commit and the finish: HEAD finishes it, and looks."""
    await set_policy(service, type_mismatch="refuse")
    url = await create(service, len(HTML) + 1, **declares("image/png"))
    assert (await patch(service, url, 0, HTML))[0] == 204
    await sql.execute('UPDATE uploads SET length = "offset"')
    answer = await service.client.head(url, headers=service.tus)
    assert answer.status == 422
    await assert_nothing_is_left(sql)


async def test_what_nobody_declared_gets_its_type(service: Service) -> None:
    await set_policy(service, type_mismatch="correct")
    assert await raw(service, PICTURE, "application/octet-stream") == (201, "image/png")
    assert await raw(service, b"text", "application/octet-stream") == (
        201,
        "application/octet-stream",
    )
    await set_policy(service, type_mismatch="refuse")
    assert await raw(service, PICTURE, "application/octet-stream") == (
        201,
        "application/octet-stream",
    )


async def test_an_empty_file_may_be_declared_anything(service: Service) -> None:
    await set_policy(service, type_mismatch="refuse")
    assert await raw(service, b"", "image/png") == (201, "image/png")
    url = await create(service, 0, **declares("image/png"))
    assert (await service.client.head(url, headers=service.tus)).status == 200


async def test_types_that_a_tenant_does_not_take(service: Service, sql: asyncpg.Connection) -> None:
    await set_policy(service, content_types="image/png,image/jpeg")
    assert await raw(service, PICTURE, "image/png") == (201, "image/png")
    assert await raw(service, SVG, "image/svg+xml") == (415, "type_not_allowed")
    await set_policy(service, type_mismatch="correct")
    await sql.execute("TRUNCATE objects, blobs, manifests, chunks, upload_chunks, uploads CASCADE")
    assert await raw(service, HTML, "image/png") == (415, "type_not_allowed")
    assert await tus(service, [HTML], "image/png") == (415, "type_not_allowed")
    await assert_nothing_is_left(sql)


async def test_sizes_that_a_tenant_does_not_take(service: Service) -> None:
    await set_policy(service, size_max_bytes=1000)
    assert await raw(service, content(1000), "a/b") == (201, "a/b")
    assert await raw(service, content(1001), "a/b") == (413, "too_large")
    answer = await service.client.post(
        "/v1/uploads", headers={**service.tus, "Upload-Length": "1001"}
    )
    assert answer.status == 413
