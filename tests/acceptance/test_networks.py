"""tus-js-client on bad networks, which toxiproxy makes: its retries lose nothing and end well."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import SMALL_CHUNKS, MakeServer
from tests.acceptance.content import MIB
from tests.acceptance.server import Server
from tests.acceptance.test_crashes import wait_until_received
from tests.acceptance.toxiproxy import Toxiproxy, toxiproxy
from tests.acceptance.uploaders import TUS_JS, assert_all_comes_back, assert_stored, finished, write

pytestmark = pytest.mark.full


@pytest.fixture
def network(server: Server, folder: Path) -> Iterator[Toxiproxy]:
    with toxiproxy(folder, server.port) as made:
        yield made


@pytest.mark.parametrize("patch_bytes", [0, 100_000])
def test_a_far_service(
    server: Server, network: Toxiproxy, folder: Path, dsn: str, patch_bytes: int
) -> None:
    network.far(50, 40)
    file = write(folder, MIB, 1)
    upload = finished(TUS_JS.start(server, file, through=network.url, patch_bytes=patch_bytes))
    assert_stored(server, upload, file)
    assert_all_comes_back(server, dsn)


@pytest.mark.parametrize("patch_bytes", [0, 900_000])
def test_connections_that_break_after_some_bytes(
    server: Server, network: Toxiproxy, folder: Path, dsn: str, patch_bytes: int
) -> None:
    network.cut(700_000)
    file = write(folder, 4 * MIB, 1)
    upload = finished(TUS_JS.start(server, file, through=network.url, patch_bytes=patch_bytes))
    assert server.log().count('"HEAD"') >= 3, "it asked where to go on"
    assert_stored(server, upload, file)
    assert_all_comes_back(server, dsn)


def test_answers_that_are_lost(server: Server, network: Toxiproxy, folder: Path) -> None:
    """What was done stays done. A creation is begun anew, for its client never saw the URL."""
    network.forgetful(0.5)
    file = write(folder, MIB, 1)
    upload = finished(TUS_JS.start(server, file, through=network.url, patch_bytes=100_000))
    assert_stored(server, upload, file)


def test_a_connection_that_is_half_open(
    server: Server, network: Toxiproxy, folder: Path, dsn: str
) -> None:
    network.thin(1000)
    file = write(folder, 3 * MIB, 1)
    uploading = TUS_JS.start(server, file, through=network.url)
    wait_until_received(server, MIB)
    network.silent()
    assert uploading.poll() is None
    network.heal()
    upload = finished(uploading)
    assert '"HEAD"' in server.log(), "it asked where to go on"
    assert_stored(server, upload, file)
    assert_all_comes_back(server, dsn)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {
            "MEDIASTORE_UPLOADS__BODY_RATE_MIN_BYTES_PER_SECOND": "5000",
            "MEDIASTORE_UPLOADS__RATE_WINDOW_SECONDS": "1",
        },
    ],
    ids=["borne", "cut for being slow"],
)
def test_a_kilobyte_a_second(
    make_server: MakeServer, folder: Path, dsn: str, limits: dict[str, str]
) -> None:
    server = make_server(**SMALL_CHUNKS, **limits)
    server.start()
    file = write(folder, 5000, 1)
    with toxiproxy(folder, server.port) as network:
        network.thin(1)
        upload = finished(TUS_JS.start(server, file, through=network.url))
    assert_stored(server, upload, file)
    assert_all_comes_back(server, dsn)


def test_a_tenant_that_is_busy(make_server: MakeServer, folder: Path) -> None:
    """The client is told so, waits, and goes on when there is a place again."""
    one_place = {
        "MEDIASTORE_HTTP__REQUESTS_MAX": "2",
        "MEDIASTORE_HTTP__TENANT_REQUESTS_SHARE": "0.5",
    }
    server = make_server(**SMALL_CHUNKS, **one_place)
    server.start()
    file = write(folder, 5000, 1)
    held = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST /v1/objects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
    held.sendall(head.encode() + b"Content-Length: 3\r\n\r\nab")
    wait_until_received(server, 2)
    uploading = TUS_JS.start(server, file, retry_ms=200)
    try:
        refused = server.until(lambda: statuses(server), lambda seen: len(seen) > 0)
    finally:
        held.close()
    assert set(refused) == {503}
    assert_stored(server, finished(uploading), file)


def statuses(server: Server) -> list[int]:
    """Of the creations that have been answered."""
    return [e["status"] for e in server.events() if e.get("path") == "/v1/uploads"]
