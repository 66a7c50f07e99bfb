"""A Postgres of the test's own, by the system's programs, on a TCP port: for proxies and backups.

Root lends it the account that mediastore/local/owner.py finds. Ends with `close`.
"""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import psutil
import pytest

from bench.processes import free_port
from mediastore.local.owner import Owner, find_owner
from mediastore.local.postgres import SUPERUSER, postgres_processes
from tests.acceptance.server import STOP_TIMEOUT_SECONDS, gone_is_fine

T = TypeVar("T")

QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB"}


def programs() -> Path:
    """The folder of the newest system Postgres. Fails the test when there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name)
    )
    if not found:
        pytest.fail("this test needs Debian's postgresql; .ci/install installs it")
    return found[-1]


@dataclass(slots=True)
class SystemPostgres:
    """One server; its data is in `folder`/data and belongs to its account, as `folder` does."""

    folder: Path
    port: int = field(default_factory=free_port)
    owner: Owner = field(default_factory=find_owner)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def dsn(self, port: int | None = None) -> str:
        """Its only database, through `port` where a proxy is in front."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{port or self.port}/postgres"

    def make(self, configuration: str = "", **settings: str) -> None:
        """A new cluster with these lines at the end of postgresql.conf."""
        self.owner.give(self.folder)
        self.owner.open_way_to(self.data)
        self.run(
            'initdb --pgdata="$PGDATA" --username="$PGUSER" --auth=trust --encoding=UTF8 '
            "--locale=C.UTF-8 --no-sync --wal-segsize=1"
        )
        chosen = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            **settings,
        }
        lines = [f"{name} = '{value}'\n" for name, value in chosen.items()]
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines([*lines, configuration])

    def start(self) -> None:
        self.run('pg_ctl start --pgdata="$PGDATA" --wait --timeout=60 --log="$PGDATA.log"')

    def stop(self, mode: str = "fast") -> None:
        """`immediate` is a crash: the next start recovers."""
        self.run(f'pg_ctl stop --pgdata="$PGDATA" --wait --mode={mode}')

    def run(self, script: str, **environment: str) -> str:
        """Run it in a shell as the server's account; it must end well. What it said."""
        done = subprocess.run(
            ["sh", "-euc", script],
            cwd=self.folder,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            user=self.owner.run_user,
            group=self.owner.run_group,
            extra_groups=self.owner.run_extra_groups,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}{self._log()}"
        return done.stdout

    def close(self) -> None:
        """Leave nothing of it behind, whatever state it is in."""
        left = postgres_processes(self.data)
        for process in left:
            with gone_is_fine():
                process.kill()
        psutil.wait_procs(left, timeout=STOP_TIMEOUT_SECONDS)

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": os.pathsep.join((str(programs()), "/usr/bin", "/bin")),
            "LC_ALL": "C.UTF-8",
            "PGDATA": str(self.data),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGDATABASE": "postgres",
            **given,
        }

    def _log(self) -> str:
        log = self.folder / "data.log"
        return log.read_text()[-4000:] if log.exists() else ""


@contextmanager
def system_postgres(
    folder: Path, configuration: str = "", **settings: str
) -> Iterator[SystemPostgres]:
    """A server that runs, in a new folder."""
    folder.mkdir()
    made = SystemPostgres(folder)
    try:
        made.make(configuration, **settings)
        made.start()
        yield made
    finally:
        made.close()


def asked(dsn: str, work: "Callable[[asyncpg.Connection[Any]], Awaitable[T]]") -> T:
    """What a database says, on a connection of its own."""

    async def ask() -> T:
        connection = await asyncpg.connect(dsn)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(ask())
