"""The real `mediastore` command as a subprocess: started, watched, killed, started again.

Owns every process it starts: `close()` leaves none behind, a Postgres whose `mediastore dev` was
killed included. The first start takes a free port, later ones the same port, as clients that
resume expect.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from mediastore.local.postgres import postgres_processes
from tests.acceptance.client import Answer, Client, Unreachable, id_of

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.02


def command(name: str) -> list[str]:
    """How to run an installed command; without an installation, its entry point in this tree."""
    installed = Path(sys.executable).with_name(name)
    if installed.exists():
        return [str(installed)]
    module = {"mediastore": "mediastore.cli", "mediastore-gc": "mediastore_gc.cli"}[name]
    code = f"import sys; from {module} import main; sys.argv[0] = {name!r}; main()"
    return [sys.executable, "-c", code]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """A clean environment: this tree's code, and only the MEDIASTORE_… settings that are given."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MEDIASTORE_")}
    path = os.pathsep.join((str(ROOT), str(ROOT / "gc")))
    return {**inherited, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **settings}


def run_command(
    name: str, *arguments: str, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end; its exit code is the caller's to judge."""
    return subprocess.run(
        [*command(name), *arguments],
        env=environment(settings or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class DidNotStart(AssertionError):
    """The server ended, or was not ready in time; the message is its log."""


@dataclass(slots=True)
class Server:
    """One server, in a process group of its own; `folder` takes its output."""

    arguments: Sequence[str]
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    config: Path | None = None
    postgres_folder: Path | None = None
    key_file: Path | None = None
    key: str = ""
    url: str = ""
    metrics_url: str | None = None
    port: int = 0
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    # Life

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait`, return when /readyz answers 200. Raises DidNotStart."""
        if self.process is not None:
            raise RuntimeError("this server runs already")
        self.starts += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._output("out").open("wb") as out, self._output("err").open("wb") as err:
            self.process = subprocess.Popen(
                [*command("mediastore"), *self.arguments, "--port", str(self.port)],
                env=environment(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait for its address in the log, then for /readyz. Raises DidNotStart."""
        listening = self._wait_for_event("listening")
        self.url, self.metrics_url = listening["url"], listening["metrics_url"]
        self.port = int(self.url.rpartition(":")[2])
        self.until(self.ready, bool)
        if self.key_file is not None:
            self.key = self.key_file.read_text().strip()

    def ready(self) -> bool:
        try:
            return self.client().get("/readyz").status == 200
        except Unreachable:
            return False

    def wait_until_not_ready(self) -> None:
        self.until(self.ready, lambda ready: not ready)

    def until(self, ask: Callable[[], T], good: Callable[[T], bool]) -> T:
        """Ask again and again until the answer is good; that answer."""
        answer = ask()
        for _ in self._until(START_TIMEOUT_SECONDS):
            if good(answer):
                return answer
            answer = ask()
        raise AssertionError(f"it never came; the last answer was {answer!r}\n{self.log()}")

    def made(self, upload: str) -> Any:
        """The object of an upload that has all its bytes. Its job may be running still, or was
        killed and is taken over after a while.
        """

        def is_there(answer: Answer) -> bool:
            assert answer.status == 200 or answer.code == "upload_finishing", answer
            return answer.status == 200

        url = f"/v1/objects/{id_of(upload)}"
        return self.until(lambda: self.client().get(url), is_there).json()

    def kill(self) -> None:
        """kill -9: what a crash, the kernel's OOM killer or a lost host does."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and wait; its exit code."""
        self.signal(number)
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Signal the whole group, as a terminal's Ctrl-C does."""
        if self.process is None:
            raise RuntimeError("this server does not run")
        os.killpg(self.process.pid, number)

    def wait(self) -> int:
        if self.process is None:
            raise RuntimeError("this server does not run")
        try:
            code = self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"it did not stop in time\n{self.log()}") from None
        self.process = None
        return code

    def restart(self) -> None:
        """Start again, on the same port and data."""
        self.start()

    def close(self) -> None:
        """Leave nothing behind: no server, no Postgres."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
        for process in self.postgres():
            with gone_is_fine():
                process.kill()
        psutil.wait_procs(self.postgres(), timeout=STOP_TIMEOUT_SECONDS)

    # Looking at it

    def client(self) -> Client:
        return Client(self.url, self.key)

    def postgres(self) -> list[psutil.Process]:
        """Every process of its own Postgres."""
        return [] if self.postgres_folder is None else postgres_processes(self.postgres_folder)

    @property
    def resident_bytes(self) -> int:
        if self.process is None:
            raise RuntimeError("this server does not run")
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def said(self) -> str:
        """Standard output of the latest start."""
        return self._output("out").read_text()

    def log(self) -> str:
        """Standard error of the latest start."""
        return self._output("err").read_text()

    def whole_log(self) -> str:
        """Standard error of every start."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.err")))

    def events(self) -> Iterator[dict[str, Any]]:
        """The log lines of the latest start that are whole JSON objects."""
        for line in self.log().splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    def _wait_for_event(self, name: str) -> dict[str, Any]:
        for _ in self._until(START_TIMEOUT_SECONDS):
            ended = self.process is None or self.process.poll() is not None
            for event in self.events():
                if event.get("event") == name:
                    return event
            if ended:
                break
        raise DidNotStart(self.said() + self.log())

    def _until(self, seconds: float) -> Iterator[None]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            yield
            time.sleep(POLL_SECONDS)

    def _output(self, kind: str) -> Path:
        return self.folder / f"{self.starts:03}.{kind}"


def dev_server(data: Path, folder: Path, **settings: str) -> Server:
    """`mediastore dev` on `data`."""
    return Server(
        ["dev", "--data", str(data)],
        folder,
        settings,
        config=data / "mediastore.toml",
        postgres_folder=data / "postgres",
        key_file=data / "dev-api-key",
    )


@contextmanager
def gone_is_fine() -> Iterator[None]:
    """A process that was listed may end before it is signalled: Postgres's backends often do."""
    try:
        yield
    except psutil.NoSuchProcess:
        return


def program(name: str) -> str | None:
    """A program of the full tier: on PATH, or where `go install` puts it."""
    return shutil.which(name) or shutil.which(name, path=str(Path.home() / "go" / "bin"))
