"""Chromium with a page that uploads; the page's origin is its own, as that of a customer's site."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.pages import Pages, site
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


def _pages(script: Path, job: Job, files: Sequence[Path]) -> Pages:
    """The script, the job, the files."""
    return {
        "/": ("text/html", HTML),
        "/page.js": ("text/javascript", script.read_bytes()),
        "/job": ("application/json", json.dumps(asdict(job)).encode()),
        **{f"/files/{file.name}": ("image/x-test", file.read_bytes()) for file in files},
    }


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
        with site(self.port) as own:
            own.pages = _pages(self.script, told, files)
            with chromium(self.folder / "profile", [self.origin]):
                said = own.posted.get(timeout=TIMEOUT_SECONDS)
                return json.loads(said), own.asked.count("/")


def bundled(folder: Path) -> Path:
    """clients/page.mjs and what it imports as one script."""
    made = folder / "page.js"
    bundle = [node(), str(CLIENTS / "bundle.mjs"), str(CLIENTS / "page.mjs"), str(made)]
    subprocess.run(bundle, check=True, timeout=TIMEOUT_SECONDS)
    return made


@contextmanager
def chromium(
    profile: Path,
    arguments: Sequence[str],
    *,
    through: Sequence[str] = (),
    descriptors: Sequence[int] = (),
) -> Iterator[None]:
    """A new Chromium with a new profile, until the end of the block. `through` is a command that
    begins it and that inherits `descriptors`.
    """
    program = shutil.which("chromium")
    assert program, "this test needs chromium"
    command = [*through, program, *QUIET, f"--user-data-dir={profile}", *arguments]
    with profile.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=descriptors,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT_SECONDS)
