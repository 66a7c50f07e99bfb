"""INV-10 with signed links: they open what was signed, while it lives, and nothing else."""

import asyncio
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from mediastore.links import media_path, round_up_expiry, sign_link, tenant_link_secret
from mediastore.settings import Settings
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, bearer, running, settings_on, upload

SERVICE_SECRET = "a service's secret, of 32 characters"
KEY = {"id": "2026a", "secret": SERVICE_SECRET}


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_on(dsn, tmp_path, delivery={"allowed_cache_seconds": 60}, links={"keys": [KEY]})


async def ask(service: Service, url: str, key: str | None = None) -> tuple[int, bytes]:
    async with service.client.get(url, headers=bearer(key) if key else {}) as response:
        return response.status, await response.read()


async def make(service: Service, key: str, id_: str, **asked: Any) -> tuple[int, dict[str, Any]]:
    url = f"/v1/objects/{id_}/links"
    async with service.client.post(url, json=asked, headers=bearer(key)) as response:
        return response.status, await response.json()


async def test_a_link_opens_a_private_blob(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.acme, b"secret", name="Größe 50%.jpg")
    status, link = await make(service, keys.acme, made["id"])
    assert status == 201
    async with service.client.get(link["url"]) as response:
        assert (response.status, await response.read()) == (200, b"secret")
        assert response.headers["Cache-Control"] == "public, immutable"
        assert response.headers["Expires"].endswith(":00:00 GMT")
        assert "Gr%C3%B6%C3%9Fe" in response.headers["Content-Disposition"]
    assert link["expires_at"].endswith(":00:00Z")
    async with service.client.head(link["url"]) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, "6")


async def test_what_a_link_does_not_open_is_not_there(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.acme, b"secret")
    other = await upload(service, keys.acme, b"another")
    _, link = await make(service, keys.acme, made["id"])
    path, _, query = link["url"].partition("?")
    nothing = await ask(service, f"/media/acme/{'0' * 64}/file?{query}")
    assert nothing[0] == 404
    for url in (
        path,
        link["url"][:-1],
        link["url"] + "&x=1",
        path + "x?" + query,
        path.replace(made["blob"], other["blob"]) + "?" + query,
        path.replace("acme", "other") + "?" + query,
        sign(media_path("acme", made["blob"], "file"), expires=int(time.time()) - 1),
        sign(media_path("acme", made["blob"], "file"), tenant="other"),
    ):
        assert await ask(service, url) == nothing, url
    assert await ask(service, path, keys.acme) == (200, b"secret")


async def test_a_signature_does_not_outlive_the_object(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.acme, b"gone soon")
    _, link = await make(service, keys.acme, made["id"])
    assert (await ask(service, link["url"]))[0] == 200
    url = f"/v1/objects/{made['id']}"
    async with service.client.delete(url, headers=bearer(keys.acme)):
        pass
    assert (await ask(service, link["url"]))[0] == 404
    assert (await make(service, keys.acme, made["id"]))[0] == 409


async def test_who_may_make_links_and_how(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.acme, b"secret")
    assert (await make(service, keys.other, made["id"]))[0] == 404
    assert (await make(service, "ms_wrong", made["id"]))[0] == 401
    for wrong in (
        {"expires_seconds": "1"},
        {"expires_seconds": True},
        {"expires_seconds": 0},
        {"expires_seconds": 10**12},
        {"filename": "a\nb"},
        {"transform": "a/b"},
        {"transform": ""},
        {"typo": 1},
    ):
        status, problem = await make(service, keys.acme, made["id"], **wrong)
        assert (status, problem["code"]) == (400, "bad_request"), wrong
    status, link = await make(
        service, keys.acme, made["id"], filename="../x.webp", transform="w_300,h_200"
    )
    assert status == 201
    assert f"/media/acme/{made['blob']}/w_300,h_200/x.webp?exp=" in link["url"]
    url = f"/v1/objects/{made['id']}/links"
    async with service.client.post(url, headers=bearer(keys.acme)) as response:
        assert response.status == 201  # without a body: the defaults
        assert response.headers["Cache-Control"] == "no-store"


async def test_without_keys_there_are_no_links(dsn: str, tmp_path: Path, keys: Keys) -> None:
    async with running(settings_on(dsn, tmp_path)) as service:
        made = await upload(service, keys.acme, b"secret")
        status, problem = await make(service, keys.acme, made["id"])
        assert (status, problem["code"]) == (501, "links_not_configured")


async def test_a_public_tenants_blobs_need_no_link(keys: Keys, service: Service) -> None:
    made = await upload(service, keys.public, b"hello")
    for query in ("", "?exp=1&kid=2026a&sig=" + "A" * 43):
        async with service.client.get(made["links"]["media"] + query) as response:
            assert response.status == 200
            assert "max-age=31536000" in response.headers["Cache-Control"]


@pytest.fixture
async def secret_object(keys: Keys, service: Service) -> dict[str, Any]:
    return await upload(service, keys.acme, b"signed elsewhere")


async def test_the_python_signer_of_the_page(
    service: Service, secret_object: dict[str, Any]
) -> None:
    url = sign(media_path("acme", secret_object["blob"], "Größe ?.jpg"))
    assert await ask(service, url) == (200, b"signed elsewhere")


PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
SHELL_LINES = 'text="' + PAGE.partition('```sh\ntext="')[2].partition("```")[0]
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the shell line needs openssl"
)


async def shell(script: str, **variables: str) -> str:
    made = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-euc", script],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **variables},
        check=True,
        capture_output=True,
        text=True,
    )
    return made.stdout.strip()


@needs_openssl
async def test_the_shell_line_of_the_page(service: Service, secret_object: dict[str, Any]) -> None:
    url = await shell(
        SHELL_LINES,
        BLOB=secret_object["blob"],
        EXPIRES=str(round_up_expiry(time.time() + 60)),
        KEY_ID="2026a",
        SECRET=tenant_link_secret(SERVICE_SECRET, "acme"),
    )
    assert await ask(service, url) == (200, b"signed elsewhere")


@needs_openssl
async def test_the_shell_line_makes_the_vectors_of_the_page() -> None:
    (secret,) = re.findall(r"^2026a ([0-9a-f]{64})$", PAGE, re.MULTILINE)
    vectors = re.findall(r"^\| `(/media/[^`]*)` \| `([^`]*)` \|$", PAGE, re.MULTILINE)
    assert len(vectors) == 3
    first, line = SHELL_LINES.splitlines()
    assert first.startswith("text=")
    for text, signature in vectors:
        assert await shell(line, text=text, SECRET=secret) == f"{text}&sig={signature}"
        assert await shell(line, text=text, SECRET=secret[::-1]) != f"{text}&sig={signature}"
    text, signature = vectors[0]
    blob, expires = text.split("/")[3], text.partition("exp=")[2].partition("&")[0]
    made = await shell(SHELL_LINES, BLOB=blob, EXPIRES=expires, KEY_ID="2026a", SECRET=secret)
    assert made == f"{text}&sig={signature}"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_link_is_for_reading(
    keys: Keys, service: Service, secret_object: dict[str, Any], method: str
) -> None:
    url = sign(media_path("acme", secret_object["blob"], "file"))
    async with service.client.request(method, url, data=b"x") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    object_ = f"/v1/objects/{secret_object['id']}?{url.partition('?')[2]}"
    async with service.client.request(method, object_, data=b"x") as response:
        assert response.status in (401, 405)
    assert await ask(service, url) == (200, b"signed elsewhere")


async def test_links_of_a_key_live_as_long_as_the_key(
    dsn: str, tmp_path: Path, keys: Keys, service: Service, secret_object: dict[str, Any]
) -> None:
    _, link = await make(service, keys.acme, secret_object["id"])
    other = {"id": "2026b", "secret": "another secret of 32 characters or more"}
    renamed = {"id": "2026a", "secret": other["secret"]}
    for configured, status in (([other, KEY], 200), ([other], 404), ([renamed], 404)):
        settings = settings_on(dsn, tmp_path, links={"keys": configured})
        async with running(settings) as changed:
            assert (await ask(changed, link["url"]))[0] == status, configured


def sign(path: str, *, expires: int | None = None, tenant: str = "acme") -> str:
    return sign_link(
        path,
        expires=round_up_expiry(time.time() + 60) if expires is None else expires,
        key_id="2026a",
        secret=tenant_link_secret(SERVICE_SECRET, tenant),
    )
