"""The whole main job: bytes go in, are stored once, served, deleted, and their space comes back."""

import json
from pathlib import Path
from typing import Any

from blake3 import blake3

from tests.acceptance.client import Client
from tests.acceptance.conftest import stored_bytes
from tests.acceptance.content import content
from tests.acceptance.server import Server, run_command

NOW = (
    *("--revive-delay", "0", "--recovery-window", "0", "--recovery-margin", "0"),
    *("--trash-delay", "0", "--unsafe-delays"),
)


def collect(server: Server, *arguments: str) -> Any:
    """Run the collector as an operator does; its report."""
    ran = run_command(
        "mediastore-gc", "--config", str(server.config), "run", "--once", "--json", *arguments
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_from_upload_to_space_given_back(server: Server, folder: Path) -> None:
    client = server.client()
    data, kept = content(3_000_000), content(500_000, seed=2)
    made, other = client.made(data), client.made(kept)
    assert stored_bytes(folder / "chunks") == len(data) + len(kept)
    path = f"/v1/objects/{made['id']}"
    assert made["blob"] == blake3(data).hexdigest()
    assert client.content(made["id"]) == data

    assert client.delete(path).status == 200
    assert client.get(f"{path}/content").status == 404
    assert client.get(path).json()["deleted_at"] is not None
    assert [item["id"] for item in client.get("/v1/objects?trash=true").json()["objects"]] == [
        made["id"]
    ]
    assert client.request("POST", f"{path}/restore").status == 200
    assert client.content(made["id"]) == data
    assert client.delete(path).status == 200

    collect(server, "--delete")  # the safe delays: nothing is due for days
    assert stored_bytes(folder / "chunks") == len(data) + len(kept)
    collect(server, *NOW)  # a dry run
    assert stored_bytes(folder / "chunks") == len(data) + len(kept)
    assert client.get(path).status == 200

    collect(server, *NOW, "--delete", "--delete-share-max", "1")
    assert stored_bytes(folder / "chunks") == len(kept)
    assert client.get(path).status == 404
    assert client.get(f"{path}/content").status == 404
    assert client.content(other["id"]) == kept

    again = client.made(data)  # the same bytes are new bytes now
    assert client.content(again["id"]) == data
    assert stored_bytes(folder / "chunks") == len(data) + len(kept)


def test_the_same_bytes_are_stored_once(server: Server, folder: Path) -> None:
    client = server.client()
    data = content(1_000_000)
    ids = [client.made(data)["id"] for _ in range(3)]
    upload = client.create(len(data))
    assert client.patch(upload, 0, data).offset == len(data)
    ids.append(upload.rpartition("/")[2])
    assert stored_bytes(folder / "chunks") == len(data)
    for id_ in ids[:3]:
        client.delete(f"/v1/objects/{id_}")
    collect(server, *NOW, "--delete")
    assert client.content(ids[3]) == data


def test_files_that_are_partly_equal_share_chunks(server: Server, folder: Path) -> None:
    client = server.client()
    first = content(2_000_000)
    second = first[:900_000] + b"one more sentence" + first[900_000:]
    client.made(first)
    before = stored_bytes(folder / "chunks")
    made = client.made(second)
    assert stored_bytes(folder / "chunks") - before < 300_000
    assert client.content(made["id"]) == second


def test_an_upload_that_was_dropped_gives_its_space_back(server: Server, folder: Path) -> None:
    client = server.client()
    data = content(1_000_000)
    upload = client.create(2_000_000)
    client.patch(upload, 0, data)
    assert stored_bytes(folder / "chunks") == len(data)
    answer = client.request("DELETE", upload, headers={"Tus-Resumable": "1.0.0"})
    assert answer.status == 204
    collect(server, *NOW, "--delete", "--delete-share-max", "1")
    assert stored_bytes(folder / "chunks") == 0
    assert _live(client) == []


def _live(client: Client) -> list[str]:
    return [item["id"] for item in client.get("/v1/objects").json()["objects"]]
