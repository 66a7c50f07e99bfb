"""tus 1.0.0: rules of the protocol that no other test is about. docs/tus.md lists them all."""

from datetime import timedelta
from email.utils import parsedate_to_datetime
from uuid import UUID

import asyncpg
import pytest

from mediastore.content.digests import TUS_ALGORITHMS
from tests.integration.uploads.conftest import Service
from tests.integration.uploads.test_tus import PATCH_TYPE, create, offset_of, patch

NOWHERE = f"/v1/uploads/{UUID(int=7)}"


async def test_every_answer_names_the_version_and_is_not_kept(service: Service) -> None:
    url = await create(service, 10)
    body = {**service.tus, **PATCH_TYPE, "Upload-Offset": "0"}
    for method, target, headers, status in (
        ("HEAD", url, service.tus, 200),
        ("PATCH", url, body, 204),
        ("PATCH", url, body, 409),
        ("PATCH", url, service.tus, 415),
        ("HEAD", NOWHERE, service.tus, 404),
        ("HEAD", url, {**service.tus, "Authorization": "Bearer no"}, 401),
        ("POST", "/v1/uploads", service.tus, 400),
        ("POST", "/v1/uploads", {**service.tus, "Upload-Length": "1"}, 201),
        ("POST", url, service.tus, 405),
        ("DELETE", url, service.tus, 204),
        ("DELETE", url, service.tus, 404),
    ):
        data = b"123" if headers is body else None
        answer = await service.client.request(method, target, headers=headers, data=data)
        assert answer.status == status, (method, target)
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("version", ["0.2.2", "1.0", "2.0.0", "", None])
async def test_another_version_is_refused_and_nothing_is_done(
    service: Service, sql: asyncpg.Connection, version: str | None
) -> None:
    url = await create(service, 10)
    before = await sql.fetch("SELECT * FROM uploads")
    says = service.bearer if version is None else {**service.bearer, "Tus-Resumable": version}
    requests: list[tuple[str, str, dict[str, str]]] = [
        ("POST", "/v1/uploads", {"Upload-Length": "1"}),
        ("PATCH", url, {**PATCH_TYPE, "Upload-Offset": "0"}),
    ]
    if version is not None:  # without one, these two are the IETF draft's (uploads/dispatch.py)
        requests += [("HEAD", url, {}), ("DELETE", url, {})]
    for method, target, more in requests:
        answer = await service.client.request(method, target, headers={**says, **more})
        assert (answer.status, answer.headers["Tus-Version"]) == (412, "1.0.0")
        assert "Upload-Offset" not in answer.headers
    assert await sql.fetch("SELECT * FROM uploads") == before


@pytest.mark.parametrize("version", ["0.2.2", "nonsense"])
async def test_options_ignores_the_version(service: Service, version: str) -> None:
    answer = await service.client.options("/v1/uploads", headers={"Tus-Resumable": version})
    assert (answer.status, answer.headers["Tus-Version"]) == (204, "1.0.0")


async def test_head_at_the_beginning_and_at_the_end(service: Service) -> None:
    url = await create(service, 4)
    for offset in ("0", "4"):
        answer = await service.client.head(url, headers=service.tus)
        said = answer.headers
        assert (answer.status, said["Upload-Offset"], said["Upload-Length"]) == (200, offset, "4")
        assert await patch(service, url, int(offset), b"1234"[int(offset) :]) == (204, "4")


async def test_what_is_not_there_has_no_offset(service: Service) -> None:
    for url in (NOWHERE, "/v1/uploads/nonsense"):
        answer = await service.client.head(url, headers=service.tus)
        assert answer.status == 404
        assert "Upload-Offset" not in answer.headers


@pytest.mark.parametrize("said", ["0", "2", "true", "", "1, 1"])
async def test_a_deferred_length_that_is_not_said_with_1(service: Service, said: str) -> None:
    headers = {**service.tus, "Upload-Defer-Length": said}
    answer = await service.client.post("/v1/uploads", headers=headers)
    assert answer.status == 400


async def test_a_creation_with_a_body_of_another_type(
    service: Service, sql: asyncpg.Connection
) -> None:
    headers = {**service.tus, "Upload-Length": "1", "Content-Type": "text/plain"}
    answer = await service.client.post("/v1/uploads", data=b"x", headers=headers)
    assert answer.status == 415
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0


async def test_answers_say_when_an_unfinished_upload_expires(
    service: Service, sql: asyncpg.Connection
) -> None:
    """In the creation's answer, in every PATCH's, in HEAD's; data pushes it."""
    lasts = timedelta(seconds=service.settings.uploads.expires_seconds)
    created = await service.client.post(
        "/v1/uploads", headers={**service.tus, "Upload-Length": "10"}
    )
    url = created.headers["Location"]
    sooner = await sql.fetchval(
        "UPDATE uploads SET expires_at = now() + interval '1 minute' RETURNING expires_at"
    )
    headers = {**service.tus, **PATCH_TYPE, "Upload-Offset": "0"}
    patched = await service.client.patch(url, data=b"123", headers=headers)
    headed = await service.client.head(url, headers=service.tus)
    for answer in (created, patched, headed):
        said = parsedate_to_datetime(answer.headers["Upload-Expires"])
        assert answer.headers["Upload-Expires"].endswith(" GMT")
        assert sooner + lasts / 2 < said <= sooner + 2 * lasts
    assert await offset_of(service, url) == 3


def test_sha1_is_among_the_algorithms_and_names_are_plain() -> None:
    assert "sha1" in TUS_ALGORITHMS
    for name in TUS_ALGORITHMS:
        assert name.isascii()
        assert name == name.lower()
