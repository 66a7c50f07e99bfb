"""Parts in parallel that the service joins: aiotus, tus-js-client, Uppy."""

from pathlib import Path

import pytest

from tests.acceptance.client import TUS
from tests.acceptance.conftest import SMALL_CHUNKS, MakeServer
from tests.acceptance.content import MIB
from tests.acceptance.proxy import BreakingProxy
from tests.acceptance.server import Server
from tests.acceptance.uploaders import (
    AIOTUS,
    TUS_JS,
    UPPY,
    Uploader,
    assert_all_comes_back,
    assert_stored,
    finished,
    write,
)

ALL = [
    pytest.param(AIOTUS, id="aiotus"),
    pytest.param(TUS_JS, id="tus-js-client", marks=pytest.mark.full),
    pytest.param(UPPY, id="uppy", marks=pytest.mark.full),
]
PARTS = 3
SIZES = [PARTS, 65_537, 3 * MIB]


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """With absolute URLs: aiotus takes no others, the rest takes any."""
    made = make_server(**SMALL_CHUNKS, MEDIASTORE_HTTP__ABSOLUTE_URLS="true")
    made.start()
    return made


@pytest.mark.parametrize("uploader", ALL)
def test_files_in_parts(server: Server, uploader: Uploader, folder: Path, dsn: str) -> None:
    files = [write(folder, size, seed) for seed, size in enumerate(SIZES)]
    uploading = [
        uploader.start(server, file, storage=f"urls-{number}", parallel=PARTS)
        for number, file in enumerate(files)
    ]
    for one, file in zip(uploading, files, strict=True):
        assert_stored(server, finished(one), file)
    assert server.log().count('"POST"') == len(files) * (PARTS + 1)
    assert_all_comes_back(server, dsn, parts=len(files) * PARTS)


@pytest.mark.parametrize("uploader", ALL)
def test_parts_whose_connections_are_cut_again_and_again(
    server: Server, uploader: Uploader, folder: Path, dsn: str
) -> None:
    file = write(folder, 4 * MIB, 1)
    with BreakingProxy(server.client().address) as proxy:
        proxy.allowance_bytes = 700_000
        upload = finished(uploader.start(server, file, through=proxy.url, parallel=PARTS))
        assert proxy.resets >= PARTS
    assert_stored(server, upload, file)
    assert_all_comes_back(server, dsn, parts=PARTS)


def test_a_parts_metadata_stays_with_it(server: Server) -> None:
    client = server.client()
    said = {"Upload_Concat": "partial", "Upload_Metadata": "filename YQ==,album eA=="}
    part = client.create(5, **said)
    assert client.patch(part, 0, b"hello").offset == 5
    headers = {**TUS, "Upload-Concat": f"final;{part}", "Upload-Metadata": "camera eQ=="}
    final = client.request("POST", "/v1/uploads", headers=headers).headers["location"]
    made = server.made(final)
    assert (made["name"], made["metadata"]) == ("", {"camera": "y"})
