"""Other people's servers for measurements: started on free loopback ports, and ended again.

Their programs are looked up on PATH and in ~/go/bin. Each is a context manager; CPU is read from
/proc, so these measurements need Linux.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 20.0
ACCESS_KEY = "bench-access-key"
SECRET_KEY = "bench-secret-key"


@dataclass(frozen=True, slots=True)
class Server:
    """A running program that listens on a loopback port."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all of its children, those that have ended included."""
    process = psutil.Process(pid)
    total = _spent(process)
    for child in process.children(recursive=True):
        try:
            total += _spent(child)
        except psutil.NoSuchProcess:  # it ended meanwhile: the next reading has it in its parent
            continue
    return total


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def program(name: str) -> str:
    """A program on PATH or in ~/go/bin. Raises SystemExit with what to do."""
    found = shutil.which(name) or shutil.which(name, path=str(Path.home() / "go" / "bin"))
    if found is None:
        raise SystemExit(f"this measurement needs {name!r} on PATH or in ~/go/bin")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_on_sigterm() -> None:
    """Let SIGTERM unwind the program as Ctrl-C does, so that the servers end with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def running(
    command: Sequence[str], port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`command`, from when it takes connections on `port` until the end of the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        _wait_for_port(process, port, log)
        yield Server(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"a server ended with status {process.returncode}; its log is {log}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"a server did not listen in time; its log is {log}")


@contextmanager
def minio(folder: Path, buckets: Sequence[str]) -> Iterator[Server]:
    """MinIO on one folder, with `buckets` made: a bucket there is a folder."""
    port = free_port()
    for bucket in buckets:
        (folder / "minio" / bucket).mkdir(parents=True)
    command = [program("minio"), "server", "--quiet", "--address", f"127.0.0.1:{port}"]
    environment = {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    with running(
        [*command, str(folder / "minio")], port, folder / "minio.log", environment
    ) as server:
        _wait_until_ready(f"{server.url}/minio/health/ready")
        yield server


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise SystemExit(f"{url} did not become ready") from None
            time.sleep(0.1)
        else:
            return


@contextmanager
def delayed(folder: Path, upstream: Server, latency_ms: int) -> Iterator[str]:
    """The URL of a toxiproxy that adds `latency_ms` to every answer of `upstream`."""
    api, port = free_port(), free_port()
    # It came from `go install`, which names a program after its folder.
    name = "toxiproxy-server" if shutil.which("toxiproxy-server") else "server"
    command = [program(name), "-host", "127.0.0.1", "-port", str(api)]
    with running(command, api, folder / "toxiproxy.log", {"LOG_LEVEL": "error"}) as server:
        _post(
            f"{server.url}/proxies",
            {
                "name": "s3",
                "listen": f"127.0.0.1:{port}",
                "upstream": f"127.0.0.1:{upstream.port}",
                "enabled": True,
            },
        )
        _post(
            f"{server.url}/proxies/s3/toxics",
            {"type": "latency", "stream": "downstream", "attributes": {"latency": latency_ms}},
        )
        yield f"http://127.0.0.1:{port}"


def _post(url: str, document: object) -> None:
    request = urllib.request.Request(
        url,
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    urllib.request.urlopen(request, timeout=5).close()
