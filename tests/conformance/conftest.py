"""Every chunk store that the conformance suite is run on, and the servers below them."""

import os
import random
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from prometheus_client import CollectorRegistry

from mediastore.chunkstore.directory import open_directory
from mediastore.chunkstore.limited import LimitedChunkStore
from mediastore.chunkstore.measured import ChunkStoreMetrics, MeasuredChunkStore
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.chunkstore.retrying import RetryingChunkStore, RetryPolicy
from mediastore.chunkstore.s3 import S3ChunkStore
from mediastore.clock import Clock, SystemClock
from mediastore.settings import ChunkStoreSettings

ACCESS_KEY = "conformance"
SECRET_KEY = "conformance-secret"
FULL = pytest.mark.full
# The checksum that is sent with a PUT is looked at by these; moto ignores it (test_s3.py has it).
REFUSING_DAMAGE = [
    "memory", "directory", "retrying", "limited", "measured",
    pytest.param("minio", marks=FULL), pytest.param("minio_signed", marks=FULL),
]  # fmt: skip
KINDS = [*REFUSING_DAMAGE, "moto", "moto_prefix"]


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def minio_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("minio")
    port = _free_port()
    process = subprocess.Popen(
        [find_tool("minio"), "server", "--address", f"127.0.0.1:{port}",
         "--console-address", f"127.0.0.1:{_free_port()}", str(folder / "data")],
        env={**os.environ, "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ChunkStore]:
    """A store under test, empty."""
    kind: str = request.param
    clock = SystemClock()
    opened = await _open(request, kind, tmp_path, clock)
    yield opened
    await opened.close()


async def _open(
    request: pytest.FixtureRequest, kind: str, folder: Path, clock: Clock
) -> ChunkStore:
    match kind:
        case "moto" | "moto_prefix" | "minio" | "minio_signed":
            server = kind.partition("_")[0]
            url: str = request.getfixturevalue(f"{server}_url")
            prefix = "a part/of it/" if kind == "moto_prefix" else ""
            settings = s3_settings(
                url, bucket=make_bucket(url), prefix=prefix, sign_payload=kind == "minio_signed"
            )
            return S3ChunkStore(settings, clock)
        case "directory":
            return await open_directory(folder / "chunks", clock, threads_max=4)
        case "retrying":
            policy = RetryPolicy(attempts_max=2, delay_seconds=0.001, delay_max_seconds=0.001)
            return RetryingChunkStore(
                MemoryChunkStore(), policy=policy, clock=clock, jitter=random.Random(1)
            )
        case "limited":
            return LimitedChunkStore(MemoryChunkStore(), concurrency_max=2, waiting_max=100)
        case "measured":
            metrics = ChunkStoreMetrics(CollectorRegistry())
            return MeasuredChunkStore(MemoryChunkStore(), metrics=metrics, clock=clock)
        case "memory":
            return MemoryChunkStore()
    raise ValueError(kind)


def s3_settings(
    url: str, *, bucket: str, prefix: str = "", sign_payload: bool = False
) -> ChunkStoreSettings:
    return ChunkStoreSettings.model_validate(
        {
            "driver": "s3",
            "endpoint_url": url,
            "bucket": bucket,
            "prefix": prefix,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "path_style": True,
            "sign_payload": sign_payload,
        }
    )


def make_bucket(url: str) -> str:
    name = f"test-{uuid.uuid4()}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    client.create_bucket(Bucket=name)
    client.close()
    return name


def find_tool(name: str) -> str:
    """A program from outside of PyPI: on PATH, in $MEDIASTORE_TOOLS or ~/go/bin. Fails without."""
    places = [os.environ.get("PATH", ""), os.environ.get("MEDIASTORE_TOOLS", "")]
    found = shutil.which(name, path=os.pathsep.join([*places, str(Path.home() / "go/bin")]))
    if found is None:
        pytest.fail(f"{name} is needed: put it on PATH or in $MEDIASTORE_TOOLS")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        if process.poll() is not None:
            pytest.fail(f"minio ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("minio did not start")
