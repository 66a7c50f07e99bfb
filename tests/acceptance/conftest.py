"""Servers for acceptance tests: `serve` on a test database (quick), or `dev` (whole)."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.processes import ACCESS_KEY, SECRET_KEY
from mediastore.local.postgres import postgres_processes
from tests.acceptance.pages import Site, site
from tests.acceptance.server import Server, dev_server, gone_is_fine, run_command
from tests.conftest import DatabaseServer

MakeServer = Callable[..., Server]

# Little content is many chunks and many batches.
SMALL_CHUNKS = {
    "MEDIASTORE_CHUNKING__SIZE_MIN_BYTES": "4096",
    "MEDIASTORE_CHUNKING__SIZE_AVERAGE_BYTES": "16384",
    "MEDIASTORE_CHUNKING__SIZE_MAX_BYTES": "65536",
    "MEDIASTORE_UPLOADS__BATCH_MAX_BYTES": "262144",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the test's own."""
    with short_folder() as made:
        yield made


@pytest.fixture
def make_server(dsn: str, folder: Path) -> Iterator[MakeServer]:
    """`mediastore serve` on a fresh database and chunk folder; not started yet.

    Keywords are environment variables. Several servers share database, chunks and key, as replicas
    do. At the end no log may hold a traceback.
    """
    with servers_on(dsn, folder) as make:
        yield make


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """A server that is ready, with small chunks; a busy machine costs no byte."""
    made = make_server(**SMALL_CHUNKS, MEDIASTORE_UPLOADS__HAND_OVER_WAIT_SECONDS="10")
    made.start()
    return made


@pytest.fixture(scope="module")
def shared_server(database_server: DatabaseServer) -> Iterator[Server]:
    """As `server`, for all tests of a module: none may stop it or count what is in it."""
    with module_servers(database_server) as make:
        made = make(**SMALL_CHUNKS, MEDIASTORE_UPLOADS__SIZE_MAX_BYTES="10000000")
        made.start()
        yield made


@pytest.fixture
def own_site() -> Iterator[Site]:
    """A customer's site, of another origin than the service's."""
    with site() as own:
        yield own


@pytest.fixture
def make_dev(folder: Path) -> Iterator[MakeServer]:
    """`mediastore dev` on one data folder; not started yet."""
    servers: list[Server] = []

    def make(**settings: str) -> Server:
        made = dev_server(folder / "data", folder / f"log{len(servers)}", **settings)
        servers.append(made)
        return made

    try:
        yield make
    finally:
        for made in servers:
            made.close()
    assert_clean_logs(servers)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A Postgres socket's path has to fit into 103 bytes, and Postgres's account has to pass."""
    made = Path(tempfile.mkdtemp(prefix="msa-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        left = [*postgres_processes(made / "postgres"), *postgres_processes(made / "data/postgres")]
        for process in left:
            with gone_is_fine():
                process.kill()
        shutil.rmtree(made, ignore_errors=True)
    assert left == [], "the test left a Postgres behind"


@contextmanager
def module_servers(database_server: DatabaseServer) -> Iterator[MakeServer]:
    """As `make_server`, for fixtures of a module."""
    name = database_server.create()
    with short_folder() as folder, servers_on(database_server.dsn(name), folder) as make:
        yield make
    database_server.drop(name)


@contextmanager
def servers_on(dsn: str, folder: Path, **store: str | bool) -> Iterator[MakeServer]:
    """Makes servers on one database, chunk store (a folder, where none is given) and key."""
    servers: list[Server] = []
    config = write_config(folder, dsn, **store)
    operate(config, "tenant", "create", "acme")
    key = operate(config, "key", "create", "acme").strip()

    def make(**settings: str) -> Server:
        server = Server(
            ["serve", "--config", str(config), "--host", "127.0.0.1"],
            folder / f"log{len(servers)}",
            settings,
            config=config,
            key=key,
        )
        servers.append(server)
        return server

    try:
        yield make
    finally:
        for server in servers:
            server.close()
    assert_clean_logs(servers)


def s3_store(url: str, bucket: str = "bucket") -> dict[str, str | bool]:
    """The section chunk_store for a MinIO of bench/processes.py."""
    return {
        "driver": "s3",
        "bucket": bucket,
        "endpoint_url": url,
        "path_style": True,
        "sign_payload": True,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
    }


def operate(config: Path, *arguments: str) -> str:
    """Run `mediastore` as an operator does; what it printed."""
    ended = run_command("mediastore", "--config", str(config), *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def assert_clean_logs(servers: list[Server]) -> None:
    """Whatever clients and parts did, nothing unexpected happened inside."""
    logs = "".join(server.whole_log() for server in servers)
    for sign in ("Traceback", "request_crashed", "never awaited", "never retrieved"):
        assert sign not in logs, logs


def write_config(folder: Path, dsn: str, **store: str | bool) -> Path:
    """The settings file that an operator would write; `store` is its section chunk_store."""
    path = folder / "mediastore.toml"
    section = store or {"driver": "directory", "directory": str(folder / "chunks")}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in section.items())
    path.write_text(f"""\
[http]
port = 0
metrics_port = 0

[catalog]
dsn = "{dsn}"

[chunk_store]
{lines}""")
    path.chmod(0o600)
    return path


def chunk_files(store: Path) -> list[Path]:
    """Every file of a directory store that holds a chunk."""
    return [Path(top) / name for top, _, names in os.walk(store / "chunks") for name in names]


def stored_bytes(store: Path) -> int:
    """Bytes of content in a directory store."""
    return sum(path.stat().st_size for path in chunk_files(store))
