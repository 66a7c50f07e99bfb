"""tus: what OPTIONS and HEAD say, and methods that come by another name."""

import re
from base64 import b64encode
from pathlib import Path
from uuid import UUID

import pytest

from mediastore.catalog.objects import change_object
from mediastore.content.digests import TUS_ALGORITHMS
from mediastore.uploads.tus.protocol import EXTENSIONS
from tests.integration.uploads.conftest import Service, Starter
from tests.integration.uploads.policies import set_policy
from tests.integration.uploads.test_tus import PATCH_TYPE, create, offset_of, stored

PAGE = Path(__file__).parents[3] / "docs" / "uploads.md"


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


async def test_options_tells_what_is_on(service: Service) -> None:
    for url in ("/v1/uploads", f"/v1/uploads/{UUID(int=7)}"):
        said = (await service.client.options(url)).headers
        assert said["Tus-Extension"].split(",") == list(EXTENSIONS)
        assert said["Tus-Checksum-Algorithm"].split(",") == list(TUS_ALGORITHMS)
        assert said["Tus-Max-Size"] == str(service.settings.uploads.size_max_bytes)


@pytest.mark.parametrize(("own", "told"), [(5000, 5000), (10**6, 10**5), (None, 10**5)])
async def test_options_tells_a_tenant_its_own_limits(
    start: Starter, own: int | None, told: int
) -> None:
    service = await start(uploads={"size_max_bytes": 10**5, "expires_seconds": 3600})
    await set_policy(service, size_max_bytes=own, upload_expires_seconds=60)
    for url in ("/v1/uploads", f"/v1/uploads/{UUID(int=7)}", "/v1/objects"):
        said = (await service.client.options(url, headers=service.bearer)).headers
        assert said["Upload-Limit"] == f"max-size={told}, max-age=60"
        assert said.get("Tus-Max-Size", str(told)) == str(told)
    for key in ({}, {"Authorization": "Bearer no"}):
        answer = await service.client.options("/v1/uploads", headers=key)
        assert answer.status == 204
        assert answer.headers["Tus-Max-Size"] == "100000"
        assert answer.headers["Upload-Limit"] == "max-size=100000, max-age=3600"


def test_the_page_names_every_extension_and_no_other() -> None:
    table = PAGE.read_text().partition("| extension |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| ([a-z-]*[a-z]) \|", table, re.MULTILINE) == list(EXTENSIONS)


async def test_head_gives_the_metadata_back_as_it_was_sent(service: Service) -> None:
    sent = f"zeta {encoded('1')}, name {encoded('a')},is_private,empty ,filetype {encoded('a/b')}"
    url = await create(service, 3, **{"Upload-Metadata": sent})
    answer = await service.client.head(url, headers=service.tus)
    assert answer.headers["Upload-Metadata"] == sent
    assert (
        "Upload-Metadata"
        not in (await service.client.head(await create(service, 3), headers=service.tus)).headers
    )


async def test_head_of_a_finished_upload_gives_the_metadata_of_its_object(service: Service) -> None:
    sent = f"album {encoded('☀')},filename {encoded('a b')},filetype {encoded('a/b')},is_private"
    url = await create(service, 0, **{"Upload-Metadata": sent})

    async def told() -> list[str]:
        answer = await service.client.head(url, headers=service.tus)
        return sorted(answer.headers.get("Upload-Metadata", "").split(","))

    assert await told() == sent.split(",")
    id_ = UUID(url.rpartition("/")[2])
    changed = {"fine": "x", "not text": "y", "number": 1}
    await change_object(service.catalog, "acme", id_, name="", metadata=changed)
    assert await told() == [f"filetype {encoded('a/b')}", f"fine {encoded('x')}"]
    await change_object(service.catalog, "acme", id_, metadata={"long": "x" * 7000})
    assert await told() == [""]


@pytest.mark.parametrize("real", ["POST", "DELETE"])
async def test_a_method_that_is_named_in_a_header_counts_for_the_requests_own(
    service: Service, real: str
) -> None:
    async def send(method: str, **more: object) -> tuple[int, str | None]:
        headers = {**service.tus, **PATCH_TYPE, "X-HTTP-Method-Override": method}
        headers["Upload-Offset"] = str(more.pop("offset", 0))
        answer = await service.client.request(real, url, headers=headers, **more)  # type: ignore[arg-type]
        return answer.status, answer.headers.get("Upload-Offset")

    url = await create(service, 6)
    assert await send("PATCH", data=b"abc") == (204, "3")
    assert await send("PATCH", data=b"abc") == (409, "3")
    assert await send("HEAD") == (200, "3")
    assert await send("PATCH", data=b"def", offset=3) == (204, "6")
    assert await stored(service, url) == b"abcdef"
    url = await create(service, 6)
    assert await send("DELETE") == (204, None)
    assert (await service.client.head(url, headers=service.tus)).status == 404


@pytest.mark.parametrize("named", [None, "", "patch", "GET", "POST", "PUT"])
async def test_other_methods_are_not_allowed(service: Service, named: str | None) -> None:
    url = await create(service, 6)
    headers = {**service.tus, **({} if named is None else {"X-HTTP-Method-Override": named})}
    answer = await service.client.post(url, headers=headers)
    assert (answer.status, answer.headers["Allow"]) == (405, "DELETE, HEAD, OPTIONS, PATCH")
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert await offset_of(service, url) == 0


async def test_only_creation_is_posted_to_the_uploads(service: Service) -> None:
    headers = {**service.tus, "Upload-Length": "1"}
    for named, status in (("POST", 201), ("OPTIONS", 204), ("PATCH", 405), ("HEAD", 405)):
        answer = await service.client.post(
            "/v1/uploads", headers={**headers, "X-HTTP-Method-Override": named}
        )
        assert answer.status == status
