"""The two servers that are compared, each as its operator would run it, on buckets of one S3."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import ACCESS_KEY, SECRET_KEY, Server, cpu_seconds, free_port, program, running
from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_api_key, create_tenant
from mediastore.clock import SystemClock
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import MIB, load_settings

MEDIASTORE_BUCKET = "mediastore"
TUSD_BUCKET = "tusd"
TENANT = "bench"
DATABASE = "mediastore"
# By default tusd collects 50 MiB before it sends anything; with parts of 8 MiB sending overlaps.
TUSD_PART_BYTES = 8 * MIB


@dataclass(frozen=True, slots=True)
class Subject:
    """A server under test: where its tus endpoint is, and the CPU it and its database have used."""

    name: str
    server: Server
    path: str
    headers: Mapping[str, str]
    database: Path | None = None

    def cpu_seconds(self) -> float:
        return self.server.cpu_seconds()

    def database_cpu_seconds(self) -> float:
        if self.database is None:
            return 0.0
        postmaster = (self.database / "postmaster.pid").read_text().splitlines()[0]
        return cpu_seconds(int(postmaster))


@contextmanager
def tusd(folder: Path, s3_url: str) -> Iterator[Subject]:
    """tusd with its s3store: no hooks, no downloads, no CORS, no hashing of bodies."""
    port = free_port()
    command = [
        program("tusd"),
        *("-host", "127.0.0.1", "-port", str(port)),
        *("-s3-bucket", TUSD_BUCKET, "-s3-endpoint", s3_url, "-s3-disable-ssl"),
        *("-s3-disable-content-hashes", "-s3-part-size", str(TUSD_PART_BYTES)),
        *("-disable-download", "-disable-cors", "-verbose=false", "-expose-metrics=false"),
        *("-show-greeting=false", "-show-startup-logs=false"),
    ]
    environment = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "TMPDIR": str(folder),
    }
    with running(command, port, folder / "tusd.log", environment) as server:
        yield Subject("tusd", server, "/files/", {})


@contextmanager
def mediastore(folder: Path, s3_url: str, postgres: LocalPostgres) -> Iterator[Subject]:
    """One mediastore process, default settings but no log of requests, on a migrated database."""
    port = free_port()
    config = folder / "mediastore.toml"
    config.write_text(_config(port, s3_url, postgres))
    key = asyncio.run(_key(config))
    command = [sys.executable, "-c", "from mediastore.cli import main; main()"]
    arguments = ["serve", "--config", str(config)]
    with running([*command, *arguments], port, folder / "mediastore.log") as server:
        yield Subject(
            "mediastore",
            server,
            "/v1/uploads",
            {"Authorization": f"Bearer {key}"},
            postgres.folder,
        )


def _config(port: int, s3_url: str, postgres: LocalPostgres) -> str:
    return f"""\
[http]
port = {port}
metrics_port = -1
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
