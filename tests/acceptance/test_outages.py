"""Parts that are down, slow or full: 503 with a stable code, /readyz says so, and when the part is
back, work goes on in the same process. Nothing acknowledged is lost meanwhile.
"""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.processes import ACCESS_KEY, SECRET_KEY, minio
from mediastore.catalog.migrations import migrate
from mediastore.local.postgres import LocalPostgres, postgres_processes
from tests.acceptance.client import Answer
from tests.acceptance.conftest import SMALL_CHUNKS, MakeServer, servers_on, stored_bytes
from tests.acceptance.content import MIB, content
from tests.acceptance.server import Server, gone_is_fine
from tests.acceptance.toxiproxy import Toxiproxy, toxiproxy
from tests.conftest import FORGETFUL

QUICK_LIMITS = {
    **SMALL_CHUNKS,
    "MEDIASTORE_CATALOG__ACQUIRE_TIMEOUT_SECONDS": "1",
    "MEDIASTORE_CATALOG__STATEMENT_TIMEOUT_SECONDS": "1",
    "MEDIASTORE_CHUNK_STORE__ATTEMPTS_MAX": "2",
    "MEDIASTORE_CHUNK_STORE__READ_TIMEOUT_SECONDS": "1",
    "MEDIASTORE_CHUNK_STORE__CONNECT_TIMEOUT_SECONDS": "1",
}
DATA = content(MIB)


@pytest.fixture
def postgres(folder: Path) -> Iterator[LocalPostgres]:
    """A Postgres that this test may stop."""
    made = LocalPostgres(folder / "postgres", folder / "postgres.log", options=FORGETFUL)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def fragile(postgres: LocalPostgres, folder: Path) -> Iterator[Server]:
    """A server on that Postgres, with short limits."""
    dsn = postgres.dsn("postgres")
    asyncio.run(migrate(dsn))
    with servers_on(dsn, folder) as make:
        server = make(**QUICK_LIMITS)
        server.start()
        yield server


def unready_part(server: Server, code: str) -> None:
    """Until /readyz answers 503 and gives this code as a part's reason."""

    def says_so(answer: Answer) -> bool:
        parts = answer.json()["parts"].values()
        return answer.status == 503 and code in {part["code"] for part in parts}

    server.until(lambda: server.client().get("/readyz"), says_so)


def assert_unavailable(answer: Answer, code: str) -> None:
    assert (answer.status, answer.code) == (503, code)
    assert int(answer.headers["retry-after"]) > 0


class Work:
    """An object and half an upload from before the outage."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pid = server.process.pid if server.process else 0
        self.object = server.client().made(DATA)["id"]
        self.upload = server.client().create(len(DATA))
        self.half = len(DATA) // 2
        assert server.client().patch(self.upload, 0, DATA[: self.half]).offset == self.half

    def goes_on(self) -> None:
        """In the same process, without a restart, and behind the acknowledged offset."""
        client = self.server.client()
        self.server.until(self.server.ready, bool)
        assert self.server.until(lambda: client.head(self.upload).status, lambda s: s == 200)
        assert client.offset(self.upload) == self.half
        assert client.patch(self.upload, self.half, DATA[self.half :]).offset == len(DATA)
        assert client.content(self.server.made(self.upload)["id"]) == DATA
        assert client.content(self.object) == DATA
        assert self.server.process is not None
        assert self.server.process.pid == self.pid


def everything_needs_the_catalog(server: Server, work: Work) -> None:
    client = server.client()
    for answer in (
        client.post(b"x"),
        client.get(f"/v1/objects/{work.object}"),
        client.get(f"/v1/objects/{work.object}/content"),
        client.delete(f"/v1/objects/{work.object}"),
        client.patch(work.upload, work.half, DATA[work.half :]),
    ):
        assert_unavailable(answer, "catalog_unavailable")
    assert client.head(work.upload).status == 503
    assert client.get("/healthz").status == 200


def test_postgres_down_and_up_again(fragile: Server, postgres: LocalPostgres) -> None:
    work = Work(fragile)
    postgres.stop()
    everything_needs_the_catalog(fragile, work)
    unready_part(fragile, "catalog_unavailable")
    postgres.start()
    work.goes_on()


def test_postgres_that_does_not_answer(fragile: Server, postgres: LocalPostgres) -> None:
    """Stopped in its tracks: connections stay open and nothing comes back."""
    work = Work(fragile)
    with suspended(postgres):
        assert_unavailable(fragile.client().post(b"x"), "catalog_unavailable")
        assert fragile.client().head(work.upload).status == 503
        fragile.wait_until_not_ready()
        assert fragile.client().get("/healthz").status == 200
    work.goes_on()


@contextmanager
def suspended(postgres: LocalPostgres) -> Iterator[None]:
    """Every process of it stopped in its tracks, the postmaster first: it makes the others."""
    processes = sorted(postgres_processes(postgres.folder), key=lambda process: process.pid)
    try:
        for process in processes:
            with gone_is_fine():
                process.suspend()
        yield
    finally:
        for process in processes:
            with gone_is_fine():
                process.resume()


def test_a_start_without_postgres_says_why(postgres: LocalPostgres, folder: Path) -> None:
    dsn = postgres.dsn("postgres")
    asyncio.run(migrate(dsn))
    with servers_on(dsn, folder) as make:
        postgres.stop()
        server = make()
        server.start(wait=False)
        assert server.wait() == 10
        assert "catalog_unavailable" in server.log()


def test_a_start_on_an_empty_database_says_what_to_do(
    postgres: LocalPostgres, folder: Path
) -> None:
    dsn = postgres.dsn("postgres")
    asyncio.run(migrate(dsn))
    with servers_on(dsn, folder) as make:
        server = make(MEDIASTORE_CATALOG__DSN=postgres.dsn("template1"))
        server.start(wait=False)
        assert server.wait() == 21
        assert "mediastore migrate" in server.log()


# The chunk store


@pytest.fixture
def impatient(make_server: MakeServer) -> Server:
    """A server with short limits and no cache, so that every read asks the store."""
    server = make_server(**QUICK_LIMITS, MEDIASTORE_MEMORY__CHUNK_CACHE_BYTES="0")
    server.start()
    return server


def everything_needs_the_store(server: Server, work: Work, code: str) -> None:
    client = server.client()
    new = content(100_000, seed=5)
    assert_unavailable(client.post(new), code)
    assert_unavailable(client.patch(work.upload, work.half, new[: len(DATA) - work.half]), code)
    assert client.offset(work.upload) == work.half
    assert client.get(f"/v1/objects/{work.object}").status == 200
    unready_part(server, code)


@pytest.mark.parametrize("replacement", ["nothing", "empty folder", "file"])
def test_a_chunk_folder_that_is_gone(impatient: Server, folder: Path, replacement: str) -> None:
    """A disk that was not mounted: nothing may be written into what lies in its place."""
    work = Work(impatient)
    chunks, away = folder / "chunks", folder / "away"
    chunks.rename(away)
    if replacement == "empty folder":
        chunks.mkdir()
    elif replacement == "file":
        chunks.write_bytes(b"")
    everything_needs_the_store(impatient, work, "chunk_store_unavailable")
    assert_unavailable(
        impatient.client().get(f"/v1/objects/{work.object}/content"), "chunk_store_unavailable"
    )
    if replacement == "empty folder":
        assert stored_bytes(chunks) == 0
        subprocess.run(["rm", "-r", str(chunks)], check=True)
    elif replacement == "file":
        chunks.unlink()
    away.rename(chunks)
    work.goes_on()


@contextmanager
def mounted(path: Path, size_bytes: int) -> Iterator[None]:
    """A file system of its own, in memory; needs root."""
    path.mkdir()
    options = f"size={size_bytes},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.mark.full
@needs_root
def test_a_full_disk(make_server: MakeServer, folder: Path) -> None:
    with mounted(folder / "small", 8 * MIB):
        chunks = folder / "small" / "chunks"
        server = make_server(**QUICK_LIMITS, MEDIASTORE_CHUNK_STORE__DIRECTORY=str(chunks))
        server.start()
        work = Work(server)
        filler = folder / "small" / "filler"
        filler.write_bytes(bytes(6 * MIB))
        new = content(2 * MIB, seed=9)
        answer = server.client().post(new)
        assert (answer.status, answer.code) == (507, "storage_full")
        upload = server.client().create(len(new))
        answer = server.client().patch(upload, 0, new)
        assert (answer.status, answer.code) == (507, "storage_full")
        kept = server.client().offset(upload)
        assert kept < len(new)
        assert server.client().content(work.object) == DATA, "reads go on"
        filler.unlink()
        assert server.client().patch(upload, kept, new[kept:]).offset == len(new)
        assert server.client().content(server.made(upload)["id"]) == new
        work.goes_on()
        server.close()


@pytest.mark.full
@needs_root
def test_a_disk_that_turned_read_only(make_server: MakeServer, folder: Path) -> None:
    """As kernels do after an I/O error: reads go on, writes are refused."""
    with mounted(folder / "disk", 32 * MIB):
        server = make_server(
            **QUICK_LIMITS, MEDIASTORE_CHUNK_STORE__DIRECTORY=str(folder / "disk" / "chunks")
        )
        server.start()
        work = Work(server)
        remount = ["mount", "-o", "remount", "tmpfs", str(folder / "disk")]
        subprocess.run([*remount[:2], "remount,ro", *remount[3:]], check=True)
        everything_needs_the_store(server, work, "chunk_store_unavailable")
        assert server.client().content(work.object) == DATA
        subprocess.run([*remount[:2], "remount,rw", *remount[3:]], check=True)
        work.goes_on()
        server.close()


@pytest.fixture
def s3(folder: Path) -> Iterator[Toxiproxy]:
    with minio(folder, ["bucket"]) as server, toxiproxy(folder, server.port) as proxy:
        yield proxy


@pytest.mark.full
@pytest.mark.parametrize("trouble", ["down", "stuck", "broken"])
def test_s3_in_trouble(make_server: MakeServer, s3: Toxiproxy, folder: Path, trouble: str) -> None:
    server = make_server(
        **QUICK_LIMITS,
        MEDIASTORE_MEMORY__CHUNK_CACHE_BYTES="0",
        MEDIASTORE_CHUNK_STORE__DRIVER="s3",
        MEDIASTORE_CHUNK_STORE__BUCKET="bucket",
        MEDIASTORE_CHUNK_STORE__ENDPOINT_URL=s3.url,
        MEDIASTORE_CHUNK_STORE__PATH_STYLE="true",
        MEDIASTORE_CHUNK_STORE__SIGN_PAYLOAD="true",
        MEDIASTORE_CHUNK_STORE__ACCESS_KEY_ID=ACCESS_KEY,
        MEDIASTORE_CHUNK_STORE__SECRET_ACCESS_KEY=SECRET_KEY,
    )
    server.start()
    work = Work(server)
    getattr(s3, trouble)()
    everything_needs_the_store(server, work, "chunk_store_unavailable")
    answer = server.client().get(f"/v1/objects/{work.object}/content")
    assert_unavailable(answer, "chunk_store_unavailable")
    s3.heal()
    work.goes_on()
