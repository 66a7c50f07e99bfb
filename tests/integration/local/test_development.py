"""`mediastore dev` as a developer and a script meet it: one folder, one key, nothing left over."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from mediastore.local.postgres import postgres_processes
from mediastore.settings import load_settings

MAIN = "from mediastore.cli import main; main()"


@pytest.fixture
def data() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="mediastore-dev-"))
    yield made
    for process in postgres_processes(made / "postgres"):
        process.kill()
    shutil.rmtree(made)


class Dev:
    """A running `mediastore dev`."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.process = psutil.Popen(
            [sys.executable, "-c", MAIN, "dev", "--port", "0", "--data", str(data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        self.said = ""
        while "mediastore-gc --config" not in self.said:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(f"it ended: {self.said}")
            self.said += line
        found = re.search(r"running at (\S+)", self.said)
        self.url = found.group(1) if found else ""

    def ready(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as response:
            body: dict[str, Any] = json.load(response)
            return body

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.stdout.close()
        return int(self.process.wait(30))


def test_from_nothing_to_ready_and_to_nothing_running(data: Path) -> None:
    dev = Dev(data)
    assert dev.ready()["status"] == "ready"
    key_file = data / "dev-api-key"
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert key_file.read_text().strip() in dev.said
    settings = load_settings(data / "mediastore.toml")
    assert settings.chunk_store.directory == data / "chunks"
    assert settings.collection == load_settings().collection
    assert dev.end(signal.SIGINT) == 0
    assert not postgres_processes(data / "postgres")


def test_after_kill_9_the_next_start_has_the_same_key_and_is_ready(data: Path) -> None:
    dev = Dev(data)
    key = (data / "dev-api-key").read_text()
    dev.end(signal.SIGKILL)
    assert postgres_processes(data / "postgres")
    dev = Dev(data)
    assert dev.ready()["status"] == "ready"
    assert (data / "dev-api-key").read_text() == key
    assert dev.end(signal.SIGTERM) == 0
    assert not postgres_processes(data / "postgres")


def test_a_signed_link_opens_what_was_stored_also_after_a_new_start(data: Path) -> None:
    dev = Dev(data)
    key = (data / "dev-api-key").read_text().strip()

    def post(path: str, body: bytes = b"") -> dict[str, Any]:
        request = urllib.request.Request(
            dev.url + path, body, {"Authorization": f"Bearer {key}"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    stored = post("/v1/objects?name=hello.txt", b"hello")
    link = urlsplit(post(f"/v1/objects/{stored['id']}/links")["url"])
    assert (data / "dev-link-secret").stat().st_mode & 0o777 == 0o600
    dev.end(signal.SIGINT)
    dev = Dev(data)
    with urllib.request.urlopen(f"{dev.url}{link.path}?{link.query}", timeout=10) as response:
        assert response.read() == b"hello"
    dev.end(signal.SIGINT)


def test_a_second_one_on_the_same_folder_is_refused_in_one_line(data: Path) -> None:
    dev = Dev(data)
    command = [sys.executable, "-c", MAIN, "dev", "--port", "0", "--data", str(data)]
    second = subprocess.run(command, check=False, capture_output=True, text=True)
    assert second.returncode == 5
    assert second.stderr.count("\n") == 1
    assert f"process {dev.process.pid}" in second.stderr
    assert dev.ready()["status"] == "ready"
    dev.end(signal.SIGINT)


def test_the_environment_cannot_point_it_at_another_database(data: Path) -> None:
    dev = Dev(data, MEDIASTORE_CATALOG__DSN="postgresql://production.invalid/mediastore")
    assert dev.ready()["parts"]["catalog"]["ready"] is True
    dev.end(signal.SIGINT)
