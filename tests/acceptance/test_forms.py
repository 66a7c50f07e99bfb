"""Forms and pulls through the whole service, as a browser's fetch and curl send them."""

import json
import random
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3

from tests.acceptance.client import Unreachable
from tests.acceptance.conftest import MakeServer
from tests.acceptance.content import MIB, content
from tests.acceptance.server import Server
from tests.acceptance.test_clients import curl
from tests.acceptance.uploaders import write


def form(files: Sequence[bytes], boundary: str) -> bytes:
    """As a browser writes the fields of a form with one file input."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="owner"\r\n\r\nann\r\n'.encode()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{number}.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n".encode()
        + data
        + b"\r\n"
        for number, data in enumerate(files)
    ]
    return head + b"".join(parts) + f"--{boundary}--\r\n".encode()


def test_what_a_form_brings_can_be_read(server: Server) -> None:
    client = server.client()
    sizes = [0, 1, 5000, MIB, MIB + 1, 20 * MIB, *[20_000] * 150]
    files = [content(size, seed) for seed, size in enumerate(sizes)]
    boundary = f"----WebKitFormBoundary{uuid.uuid4().hex[:16]}"
    answer = client.post(
        form(files, boundary), Content_Type=f"multipart/form-data; boundary={boundary}"
    )
    assert answer.status == 201, answer.body
    results = answer.json()["results"]
    assert [item["filename"] for item in results] == [f"{n}.jpg" for n in range(len(files))]
    for item, data in zip(results, files, strict=True):
        made = item["object"]
        assert (made["owner"], made["content_type"]) == ("ann", "image/jpeg")
        assert made["blob"] == blake3(data).hexdigest()
        assert client.content(made["id"]) == data


def test_a_form_and_its_key_survive_a_server_that_is_killed(make_server: MakeServer) -> None:
    """Sent again and again until it is answered: each file is one object, whole."""
    server = make_server()
    server.start()
    files = [content(30_000, seed) for seed in range(400)]
    body, chance = form(files, "b"), random.Random(7)
    headers = {"Content_Type": "multipart/form-data; boundary=b", "Idempotency_Key": "k"}
    for _ in range(6):
        killing = threading.Timer(chance.uniform(0.01, 0.2), server.kill)
        killing.start()
        with suppress(Unreachable):
            server.client().post(body, **headers)
        killing.join()
        server.start()
    client = server.client()
    answer = client.post(body, **headers)
    assert answer.status == 201, answer.body
    made = [item["object"] for item in answer.json()["results"]]
    assert [item["blob"] for item in made] == [blake3(data).hexdigest() for data in files]
    listed = client.get("/v1/objects?limit=1000").json()["objects"]
    assert {item["id"] for item in listed} == {item["id"] for item in made}
    for item, data in list(zip(made, files, strict=True))[::40]:
        assert client.content(item["id"]) == data


def test_nothing_is_pulled_unless_it_is_turned_on(server: Server) -> None:
    client = server.client()
    answer = client.post(
        json.dumps({"source": {"url": server.url}}),
        Content_Type="application/vnd.mediastore.pull+json",
    )
    assert (answer.status, answer.json()["code"]) == (403, "source_refused")


@pytest.mark.full
def test_curl_sends_forms(server: Server, folder: Path) -> None:
    small, large = write(folder, 5000, 1), write(folder, 3 * MIB, 2)
    sent = curl(
        server,
        *("-F", "owner=ann", "-F", "metadata={}", "-F", f"f=@{small};type=image/png"),
        *("-F", f"f=@{large}", f"{server.url}/v1/objects"),
    )
    made = [item["object"] for item in json.loads(sent)["results"]]
    assert [item["name"] for item in made] == [small.name, large.name]
    assert (made[0]["content_type"], made[0]["owner"]) == ("image/png", "ann")
    for item, file in zip(made, (small, large), strict=True):
        assert curl(server, f"{server.url}/v1/objects/{item['id']}/content") == file.read_bytes()
