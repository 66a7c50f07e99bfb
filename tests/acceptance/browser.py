"""Chromium with a page that uploads; the page's origin is its own, as that of a customer's site."""

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.acceptance.server import STOP_TIMEOUT_SECONDS, Server
from tests.acceptance.uploaders import CLIENTS, TIMEOUT_SECONDS, node

HTML = b"<!doctype html><title>Upload</title><script type=module src=/page.js></script>"
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """What clients/page.mjs is to do."""

    client: str
    endpoint: str
    key: str
    files: Sequence[str]
    patch_bytes: int = 0
    parallel: int = 1
    retries: int = 30
    reload_after_chunks: int = 0


class Site:
    """The page's own server: the script, the job, the files; and what the page says at the end."""

    def __init__(self, port: int, script: Path, job: Job, files: Sequence[Path]) -> None:
        answers = {
            "/": ("text/html", HTML),
            "/page.js": ("text/javascript", script.read_bytes()),
            "/job": ("application/json", json.dumps(asdict(job)).encode()),
            **{f"/files/{file.name}": ("image/x-test", file.read_bytes()) for file in files},
        }
        self.loads = 0
        self._results: queue.Queue[dict[str, Any]] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self, answers))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def say(self, result: bytes) -> None:
        self._results.put(json.loads(result))

    def result(self) -> dict[str, Any]:
        """Wait for the page. Raises queue.Empty when it never says anything."""
        return self._results.get(timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(site: Site, answers: Mapping[str, tuple[str, bytes]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = answers.get(self.path, ("", b""))
            site.loads += self.path == "/"
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            site.say(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@dataclass(frozen=True, slots=True)
class Browser:
    """Runs a job in a new Chromium with a new profile, on a page of `origin`."""

    script: Path
    folder: Path
    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def upload(
        self, server: Server, client: str, files: Sequence[Path], *, through: str = "", **job: Any
    ) -> tuple[dict[str, Any], int]:
        """What the page says, and how often it was loaded."""
        endpoint = f"{through or server.url}/v1/uploads"
        names = [file.name for file in files]
        told = Job(client, endpoint, job.pop("key", server.key), names, **job)
        site = Site(self.port, self.script, told, files)
        try:
            with chromium(self.folder / "profile", self.origin):
                return site.result(), site.loads
        finally:
            site.close()


def bundled(folder: Path) -> Path:
    """clients/page.mjs and what it imports as one script."""
    made = folder / "page.js"
    bundle = [node(), str(CLIENTS / "bundle.mjs"), str(CLIENTS / "page.mjs"), str(made)]
    subprocess.run(bundle, check=True, timeout=TIMEOUT_SECONDS)
    return made


@contextmanager
def chromium(profile: Path, url: str) -> Iterator[None]:
    program = shutil.which("chromium")
    assert program, "this test needs chromium"
    command = [program, *QUIET, f"--user-data-dir={profile}", url]
    log = profile.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT_SECONDS)
