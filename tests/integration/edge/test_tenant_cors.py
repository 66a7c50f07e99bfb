"""CORS of a tenant's media by its own policy, whatever the service allows elsewhere."""

from pathlib import Path

import pytest

from mediastore.app_keys import CATALOG
from mediastore.catalog.tenants import change_tenant
from tests.integration.service import Service, make_tenant, running, settings_on, upload

OURS, SERVICES, STRANGE = "https://acme.example", "https://app.example", "https://evil.example"


async def preflight(service: Service, url: str, origin: str) -> str | None:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range",
    }
    async with service.client.options(url, headers=headers) as response:
        assert response.status == 204
        return response.headers.get("Access-Control-Allow-Methods") and origin


@pytest.mark.parametrize("allowed", [[], [SERVICES]])
async def test_a_tenants_origins_are_its_own(dsn: str, tmp_path: Path, allowed: list[str]) -> None:
    settings = settings_on(dsn, tmp_path, cors={"allowed_origins": allowed})
    key = await make_tenant(settings, "acme", public=True)
    plain = await make_tenant(settings, "plain", public=True)
    async with running(settings) as service:
        await change_tenant(service.app[CATALOG], "acme", {"cors_origins": OURS})
        for content, owner_key, origin, yes in (
            (b"a", key, OURS, True),
            (b"a", key, SERVICES, False),
            (b"a", key, STRANGE, False),
            (b"b", plain, OURS, False),
            (b"b", plain, SERVICES, bool(allowed)),
        ):
            url = (await upload(service, owner_key, content))["links"]["media"]
            if allowed or owner_key == key:
                assert (await preflight(service, url, origin)) == (origin if yes else None)
            async with service.client.get(url, headers={"Origin": origin}) as response:
                told = response.headers.get("Access-Control-Allow-Origin")
                assert told == (origin if yes else None)
                timed = response.headers.get("Timing-Allow-Origin")
                assert timed == (origin if yes else None)
            missing = url.replace(url.split("/")[3], "0" * 64)
            async with service.client.get(missing, headers={"Origin": origin}) as response:
                assert response.status == 404
                told = response.headers.get("Access-Control-Allow-Origin")
                assert told == (origin if yes else None)


async def test_answers_that_differ_by_origin_say_so(dsn: str, tmp_path: Path) -> None:
    settings = settings_on(dsn, tmp_path)
    key = await make_tenant(settings, "acme", public=True)
    async with running(settings) as service:
        await change_tenant(service.app[CATALOG], "acme", {"cors_origins": OURS})
        url = (await upload(service, key, b"a"))["links"]["media"]
        async with service.client.get(url) as response:
            assert response.headers["Vary"] == "Origin"
        headers = {"If-None-Match": "*"}
        async with service.client.get(url, headers=headers) as response:
            assert (response.status, response.headers["Vary"]) == (304, "Origin")
        async with service.client.options(url) as response:
            assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
