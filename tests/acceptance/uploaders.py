"""Other people's uploaders: each a program in clients/ that uploads one file and prints its URL."""

import asyncio
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from blake3 import blake3

from tests.acceptance.conftest import stored_bytes
from tests.acceptance.content import content
from tests.acceptance.server import Server
from tests.acceptance.test_life import NOW, collect

CLIENTS = Path(__file__).parent / "clients"
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Uploader:
    """One of the programs."""

    program: str

    def start(
        self,
        server: Server,
        file: Path,
        *,
        through: str = "",
        storage: str = "urls",
        patch_bytes: int = 0,
        parallel: int = 1,
        retry_ms: int = 0,
    ) -> subprocess.Popen[str]:
        """Upload `file`. `through` is a proxy's URL; what `storage` remembers is resumed.
        `retry_ms`: only tus-js-client waits so long before it tries again.
        """
        endpoint = f"{through or server.url}/v1/uploads"
        arguments = [endpoint, server.key, str(file), str(file.parent / storage), str(patch_bytes)]
        if parallel > 1 or retry_ms:
            arguments.append(str(parallel))
        if retry_ms:
            arguments.append(str(retry_ms))
        return subprocess.Popen(
            [self._interpreter(), str(CLIENTS / self.program), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _interpreter(self) -> str:
        return sys.executable if self.program.endswith(".py") else node()


TUSPY = Uploader("tuspy_upload.py")
AIOTUS = Uploader("aiotus_upload.py")
TUS_JS = Uploader("tus_js_upload.mjs")
UPPY = Uploader("uppy_upload.mjs")


def node() -> str:
    found = shutil.which("node")
    assert found, "this test needs node"
    assert (CLIENTS / "node_modules").is_dir(), f"run `npm ci` in {CLIENTS}"
    return found


def write(folder: Path, size: int, seed: int) -> Path:
    path = folder / f"file-{seed}.bin"
    path.write_bytes(content(size, seed))
    return path


def finished(uploading: subprocess.Popen[str]) -> str:
    """The URL that a client prints when it has uploaded everything."""
    try:
        out, err = uploading.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        uploading.kill()
        raise AssertionError(f"the client did not end\n{uploading.communicate()[1]}") from None
    assert uploading.returncode == 0, err
    return out.strip()


def assert_stored(server: Server, upload: str, file: Path) -> None:
    """What is served is the file, under the name that `b3sum` gives it."""
    data = file.read_bytes()
    made = server.made(upload)
    assert made["blob"] == blake3(data).hexdigest()
    assert (made["name"], made["content_type"]) == (file.name, "image/x-test")
    assert server.client().content(made["id"]) == data


def assert_all_comes_back(server: Server, dsn: str, *, parts: int = 0) -> None:
    """No upload is left beside the objects but `parts` that were joined, which hold nothing. And
    without the objects nothing is referenced: the collector empties the store.
    """
    counts = "SELECT (SELECT count(*) FROM uploads), (SELECT count(*) FROM upload_chunks)"
    assert tuple(asyncio.run(_row(dsn, counts))) == (parts, 0)
    client = server.client()
    for made in client.get("/v1/objects").json()["objects"]:
        assert client.delete(f"/v1/objects/{made['id']}").status == 200
    collect(server, *NOW, "--delete", "--delete-share-max", "1")
    assert server.config is not None
    assert stored_bytes(server.config.parent / "chunks") == 0


async def _row(dsn: str, query: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchrow(query)
    finally:
        await connection.close()
