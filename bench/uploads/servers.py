"""The servers that are compared, each as its operator would run it, on buckets of one S3."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.postgres import local_postgres, make_database
from bench.processes import (
    ACCESS_KEY,
    SECRET_KEY,
    Server,
    cpu_seconds,
    delayed,
    free_port,
    minio,
    program,
    running,
)
from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_api_key, create_tenant
from mediastore.clock import SystemClock
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import MIB, load_settings

MEDIASTORE_BUCKET = "mediastore"
TUSD_BUCKET = "tusd"
TUS_NODE_BUCKET = "tus-node"
TENANT = "bench"
DATABASE = "mediastore"
LATENCY_MS = 20
NODE = Path(__file__).parent / "node"


@dataclass(frozen=True, slots=True)
class World:
    """A durable Postgres with a migrated database, and a MinIO with a bucket for each server."""

    folder: Path
    postgres: LocalPostgres
    store: Server

    @contextmanager
    def store_url(self, latency_ms: int) -> Iterator[str]:
        """Where the store is, with so much added to each of its answers."""
        if latency_ms == 0:
            yield self.store.url
            return
        with delayed(self.folder, self.store, latency_ms) as url:
            yield url


@contextmanager
def world() -> Iterator[World]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-uploads-")))
        postgres = stack.enter_context(local_postgres(folder))
        asyncio.run(make_database(postgres, DATABASE))
        buckets = [MEDIASTORE_BUCKET, TUSD_BUCKET, TUS_NODE_BUCKET]
        yield World(folder, postgres, stack.enter_context(minio(folder, buckets)))


@dataclass(frozen=True, slots=True)
class Subject:
    """A server under test: where its tus endpoint is, and the CPU it and its database have used."""

    name: str
    server: Server
    path: str
    headers: Mapping[str, str]
    database: Path | None = None
    metrics_url: str = ""

    def cpu_seconds(self) -> float:
        return self.server.cpu_seconds()

    def database_cpu_seconds(self) -> float:
        if self.database is None:
            return 0.0
        postmaster = (self.database / "postmaster.pid").read_text().splitlines()[0]
        return cpu_seconds(int(postmaster))


@contextmanager
def tusd(folder: Path, s3_url: str) -> Iterator[Subject]:
    """tusd with its s3store as it comes: it hashes what it sends, in parts of 50 MiB."""
    with _tusd("tusd", folder, s3_url) as subject:
        yield subject


@contextmanager
def tusd_bare(folder: Path, s3_url: str) -> Iterator[Subject]:
    """tusd without all that can be left out, the check of what the store received too, and with
    parts of 8 MiB: by default it collects 50 MiB before it sends anything.
    """
    bare = (
        *("-s3-disable-content-hashes", "-s3-part-size", str(8 * MIB)),
        *("-disable-download", "-disable-cors", "-verbose=false", "-expose-metrics=false"),
    )
    with _tusd("tusd, bare", folder, s3_url, *bare) as subject:
        yield subject


@contextmanager
def _tusd(name: str, folder: Path, s3_url: str, *more: str) -> Iterator[Subject]:
    port = free_port()
    command = [
        program("tusd"),
        *("-host", "127.0.0.1", "-port", str(port)),
        *("-s3-bucket", TUSD_BUCKET, "-s3-endpoint", s3_url, "-s3-disable-ssl"),
        *more,
    ]
    environment = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "TMPDIR": str(folder),
    }
    with running(command, port, folder / f"tusd-{port}.log", environment) as server:
        yield Subject(name, server, "/files/", {})


@contextmanager
def tus_node(folder: Path, s3_url: str) -> Iterator[Subject]:
    """@tus/server with @tus/s3-store, one process; see node/server.mjs for its settings."""
    if not (NODE / "node_modules").is_dir():
        raise SystemExit(f"this measurement needs `npm ci` in {NODE}")
    port = free_port()
    environment = {
        "PORT": str(port),
        "BUCKET": TUS_NODE_BUCKET,
        "ENDPOINT": s3_url,
        "ACCESS_KEY": ACCESS_KEY,
        "SECRET_KEY": SECRET_KEY,
        "NODE_ENV": "production",
        "TMPDIR": str(folder),
    }
    command = [program("node"), str(NODE / "server.mjs")]
    with running(command, port, folder / "tus-node.log", environment) as server:
        yield Subject("@tus/server", server, "/files", {})


SERVE = (sys.executable, "-c", "from mediastore.cli import main; main()")


@contextmanager
def mediastore(
    folder: Path,
    s3_url: str,
    postgres: LocalPostgres,
    *,
    command: Sequence[str] = SERVE,
    settings: str = "",
) -> Iterator[Subject]:
    """One mediastore process, default settings but no log of requests, on a migrated database.

    `command` runs the service when given its arguments; `settings` are more lines of its file.
    """
    port, metrics_port = free_port(), free_port()
    config = folder / "mediastore.toml"
    config.write_text(_config(port, metrics_port, s3_url, postgres) + settings)
    key = asyncio.run(_key(config))
    arguments = ["serve", "--config", str(config)]
    with running([*command, *arguments], port, folder / "mediastore.log") as server:
        yield Subject(
            "mediastore",
            server,
            "/v1/uploads",
            {"Authorization": f"Bearer {key}"},
            postgres.folder,
            f"http://127.0.0.1:{metrics_port}/metrics",
        )


def _config(port: int, metrics_port: int, s3_url: str, postgres: LocalPostgres) -> str:
    return f"""\
[http]
port = {port}
metrics_port = {metrics_port}
access_log = false
[catalog]
dsn = "{postgres.dsn(DATABASE)}"
[chunk_store]
driver = "s3"
bucket = "{MEDIASTORE_BUCKET}"
endpoint_url = "{s3_url}"
path_style = true
access_key_id = "{ACCESS_KEY}"
secret_access_key = "{SECRET_KEY}"
[log]
level = "warning"
"""


async def _key(config: Path) -> str:
    settings = load_settings(config)
    async with open_catalog(settings.catalog, SystemClock()) as catalog:
        if await catalog.fetch_row("tenant_get", TENANT) is None:
            await create_tenant(catalog, TENANT)
        return await create_api_key(catalog, TENANT, name="bench")
