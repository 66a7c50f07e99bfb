"""REDbot (redbot.org) asks for content as caches and browsers do, and finds nothing to mend.

It asks again with conditions, with a range and with other encodings, and compares the answers.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest

from bench.processes import program
from tests import pictures
from tests.acceptance.conftest import module_servers, operate
from tests.acceptance.server import Server
from tests.conftest import DatabaseServer

pytestmark = pytest.mark.full

TIMEOUT_SECONDS = 100
TEXT = b"A text of some lines.\n" * 500
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><desc>' + b"some text " * 500 + b"</desc></svg>"
MEANT = {
    # `public`: a shared cache may keep it whatever credentials a request had (RFC 9111, 3.5).
    "STORE_PUBLIC_UNNECESSARY",
}
REFUSED = {"STATUS_BAD_REQUEST"}  # that it was asked for nonsense, which is so


@pytest.fixture(scope="module")
def server(database_server: DatabaseServer) -> Iterator[Server]:
    with module_servers(database_server) as make:
        made = make(MEDIASTORE_IMAGES__PRESETS='{"small": "fit-100x0"}')
        assert made.config is not None
        operate(made.config, "tenant", "set", "acme", "public=true", "cors_origins=https://a.test")
        made.start()
        yield made


@pytest.fixture(scope="module")
def picture(server: Server) -> str:
    return uploaded(server, pictures.encoded(pictures.photo(400, 300, 1)), "image/jpeg")


def uploaded(server: Server, data: bytes, content_type: str) -> str:
    """The path that names of files go behind."""
    return f"/media/acme/{server.client().made(data, Content_Type=content_type)['blob']}"


def test_content_has_no_faults(server: Server, picture: str) -> None:
    assert faults(server, f"{picture}/photo.jpg", 200) == MEANT


@pytest.mark.parametrize(
    ("content_type", "data"),
    [("text/plain", TEXT), ("image/svg+xml", SVG)],
)
def test_attachments_have_no_faults(server: Server, content_type: str, data: bytes) -> None:
    assert faults(server, f"{uploaded(server, data, content_type)}/a", 200) == MEANT


@pytest.mark.parametrize("name", ["p.webp", "p.jpg", "p.auto"])
def test_variants_have_no_faults(server: Server, picture: str, name: str) -> None:
    assert faults(server, f"{picture}/preset-small/{name}", 200) <= MEANT


def test_refusals_have_no_faults(server: Server, picture: str) -> None:
    nothing = f"/media/acme/{'0' * 64}/photo.jpg"
    assert faults(server, nothing, 404) == set()
    assert faults(server, f"{picture}/fit-100x0/p.webp", 404) == set()  # free, and not signed
    assert faults(server, f"{picture}/nonsense/p.webp", 400) <= REFUSED
    assert faults(server, "/v1/objects", 401) == set()


def test_what_is_for_the_app_has_no_faults(server: Server) -> None:
    assert faults(server, "/healthz", 200) == set()
    assert faults(server, "/readyz", 200) == set()


def faults(server: Server, path: str, status: int) -> set[str]:
    """What REDbot calls bad or a warning, by its names for them."""
    command = [program("redbot"), "-o", "har", server.url + path]
    ended = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_SECONDS)
    (entry,) = json.loads(ended.stdout)["log"]["entries"]
    assert entry["response"]["status"] == status
    notes = entry["_red_messages"]
    assert notes, "REDbot has found nothing to say at all"
    return {note["note_id"] for note in notes if note["level"] in ("WARN", "BAD")}
