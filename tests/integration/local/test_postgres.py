"""A local Postgres starts from nothing and from whatever an earlier owner left behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from mediastore.errors import BadSettings, CatalogUnavailable, Conflict
from mediastore.local.lock import folder_lock
from mediastore.local.postgres import LocalPostgres, postgres_processes

QUICK = {"fsync": "off", "shared_buffers": "16MB"}


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="mediastore-local-"))
    yield made
    for process in postgres_processes(made / "postgres"):
        process.kill()
    shutil.rmtree(made)


def server(folder: Path, **options: str) -> LocalPostgres:
    return LocalPostgres(folder / "postgres", folder / "log", options={**QUICK, **options})


async def ask(postgres: LocalPostgres, question: str) -> object:
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


OWNER = """
import asyncio, os, signal, sys
from pathlib import Path
import asyncpg
from mediastore.local.postgres import LocalPostgres

folder = Path(sys.argv[1])
postgres = LocalPostgres(folder / "postgres", folder / "log")
postgres.start()

async def keep():
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS number")

asyncio.run(keep())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def abandoned(folder: Path) -> int:
    """The pid of a server whose owner wrote a row and was killed."""
    owner = subprocess.run([sys.executable, "-c", OWNER, str(folder)], check=False)
    assert owner.returncode == -signal.SIGKILL
    return int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])


@pytest.fixture
def bystander() -> Iterator[psutil.Popen]:
    """A program that has nothing to do with Postgres."""
    other = psutil.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield other
    other.communicate(b"\n")


async def test_starts_by_socket_only_and_stops_without_a_trace(folder: Path) -> None:
    postgres = server(folder)
    postgres.start()
    assert await ask(postgres, "SHOW listen_addresses") == ""
    assert postgres.running
    postgres.stop()
    assert not postgres_processes(folder / "postgres")
    assert not (folder / "postgres" / "postmaster.pid").exists()


async def test_a_living_postmaster_of_a_killed_owner_is_replaced(
    folder: Path, abandoned: int
) -> None:
    assert psutil.pid_exists(abandoned)
    postgres = server(folder)
    postgres.start()
    assert await ask(postgres, "SELECT number FROM kept") == 42
    assert abandoned not in {process.pid for process in postgres_processes(folder / "postgres")}
    postgres.stop()


async def test_a_killed_postmaster_is_recovered(folder: Path, abandoned: int) -> None:
    os.kill(abandoned, signal.SIGKILL)
    postgres = server(folder)
    postgres.start()
    assert await ask(postgres, "SELECT number FROM kept") == 42
    postgres.stop()


async def test_a_pid_that_is_another_programs_now_is_left_alone(
    folder: Path, abandoned: int, bystander: psutil.Popen
) -> None:
    os.kill(abandoned, signal.SIGKILL)
    pid_file = folder / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]))
    postgres = server(folder)
    postgres.start()
    assert await ask(postgres, "SELECT number FROM kept") == 42
    postgres.stop()
    assert bystander.poll() is None


async def test_a_path_too_long_for_a_socket_gets_a_short_private_folder(folder: Path) -> None:
    deep = folder / ("long" * 30)
    deep.mkdir()
    postgres = server(deep)
    assert postgres.socket_folder != postgres.folder
    postgres.start()
    assert postgres.socket_folder.stat().st_mode & 0o077 == 0
    assert await ask(postgres, "SELECT 1") == 1
    postgres.stop()
    assert not postgres.socket_folder.exists()


def test_a_half_made_cluster_is_made_again(folder: Path) -> None:
    half = folder / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    postgres = server(folder)
    postgres.start()
    postgres.stop()
    assert not half.exists()


def test_a_cluster_of_another_version_is_refused(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(BadSettings, match="was made by Postgres 9"):
        server(folder).start()


def test_a_server_that_does_not_start_says_where_its_log_is(folder: Path) -> None:
    postgres = server(folder, shared_buffers="nonsense")
    with pytest.raises(CatalogUnavailable, match="its log is"):
        postgres.start()
    assert not postgres.running


def test_a_folder_has_one_user_at_a_time(folder: Path) -> None:
    with folder_lock(folder):
        with pytest.raises(Conflict, match=f"process {os.getpid()}"):
            with folder_lock(folder):
                pass
    with folder_lock(folder):
        pass
