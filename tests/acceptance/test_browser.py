"""Uppy and tus-js-client in Chromium, on a page of another origin than the service's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.processes import free_port
from tests.acceptance.browser import Browser, bundled
from tests.acceptance.conftest import SMALL_CHUNKS, MakeServer
from tests.acceptance.content import MIB
from tests.acceptance.proxy import BreakingProxy
from tests.acceptance.server import Server
from tests.acceptance.uploaders import assert_all_comes_back, assert_stored, write

pytestmark = pytest.mark.full

CLIENTS = ["uppy", "tus-js-client"]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(tmp_path_factory.mktemp("page"))


@pytest.fixture
def browser(script: Path, folder: Path) -> Browser:
    return Browser(script, folder, free_port())


@pytest.fixture
def server(make_server: MakeServer, browser: Browser) -> Server:
    """It lets the pages of that browser talk to it."""
    allowed = json.dumps([browser.origin])
    made = make_server(**SMALL_CHUNKS, MEDIASTORE_CORS__ALLOWED_ORIGINS=allowed)
    made.start()
    return made


@pytest.mark.parametrize("client", CLIENTS)
def test_a_page_uploads_several_files(
    server: Server, browser: Browser, folder: Path, dsn: str, client: str
) -> None:
    files = [write(folder, size, seed) for seed, size in enumerate([0, 1, 65_537, 3 * MIB])]
    result, _ = browser.upload(server, client, files)
    assert "error" not in result, result
    for file in files:
        assert_stored(server, result["urls"][file.name], file)
    assert_all_comes_back(server, dsn)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_page_uploads_in_parts(
    server: Server, browser: Browser, folder: Path, dsn: str, client: str
) -> None:
    file, parts = write(folder, 3 * MIB, 1), 3
    result, _ = browser.upload(server, client, [file], parallel=parts)
    assert "error" not in result, result
    assert_stored(server, result["urls"][file.name], file)
    assert server.log().count('"POST"') == parts + 1
    assert_all_comes_back(server, dsn, parts=parts)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_page_that_was_reloaded_resumes(
    server: Server, browser: Browser, folder: Path, dsn: str, client: str
) -> None:
    file = write(folder, 3 * MIB, 1)
    result, loads = browser.upload(
        server, client, [file], patch_bytes=500_000, reload_after_chunks=2
    )
    assert "error" not in result, result
    assert loads == 2
    assert_stored(server, result["urls"][file.name], file)
    assert server.log().count('"POST"') == 1, "it resumed, it did not begin again"
    assert_all_comes_back(server, dsn)


def test_a_page_whose_connections_are_cut_again_and_again(
    server: Server, browser: Browser, folder: Path, dsn: str
) -> None:
    file = write(folder, 4 * MIB, 1)
    with BreakingProxy(server.client().address) as proxy:
        proxy.allowance_bytes = 700_000
        result, _ = browser.upload(server, "uppy", [file], through=proxy.url)
        assert proxy.resets >= 3
    assert "error" not in result, result
    assert_stored(server, result["urls"][file.name], file)
    assert_all_comes_back(server, dsn)


def test_a_page_can_read_why_it_was_refused(server: Server, browser: Browser, folder: Path) -> None:
    result, _ = browser.upload(server, "tus-js-client", [write(folder, 1000, 1)], key="wrong")
    assert "response code: 401" in result["error"]
    assert '"code": "unauthorized"' in result["error"]


def test_a_page_of_another_site_gets_nothing(
    server: Server, browser: Browser, folder: Path
) -> None:
    stranger = replace(browser, port=free_port())
    files = [write(folder, 1000, 1)]
    result, _ = stranger.upload(server, "tus-js-client", files, retries=0)
    assert "response code: n/a" in result["error"]
    assert server.log().count('"POST"') == 0, "the browser asks before it sends"
