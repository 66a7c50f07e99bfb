"""The real `mediastore-gc` as processes: a long-running collector that is killed and started again,
and single commands on a day that the test chooses.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from tests.acceptance.server import STOP_TIMEOUT_SECONDS, command, environment

# What it asks the clock for its guards is as far ahead as the database's; what S3 is told is true.
AHEAD = """\
#!{python}
import os, sys
from datetime import timedelta
from mediastore.clock import SystemClock
from mediastore_gc import cli, room
from mediastore_gc.commands import auditing

class Ahead(SystemClock):
    def now(self):
        return super().now() + timedelta(seconds=float(os.environ.get("CLOCK_AHEAD_SECONDS", 0)))

opened = room.open_chunk_store
room.open_chunk_store = lambda settings, _clock, registry: opened(settings, SystemClock(), registry)
room.SystemClock = auditing.SystemClock = Ahead
cli.main()
"""


@dataclass(slots=True)
class CollectorProcess:
    """One `run --watch --delete`; `folder` takes its output."""

    config: Path
    folder: Path
    arguments: tuple[str, ...]
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None
    endings: list[int] = field(default_factory=list)
    """Exit codes of those that ended without being killed."""

    def start(self) -> None:
        self.starts += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.starts:03}.err").open("wb") as err:
            self.process = subprocess.Popen(
                [
                    *(*command("mediastore-gc"), "--config", str(self.config)),
                    *("run", "--watch", "--delete", *self.arguments),
                ],
                env=environment({}),
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9; one that has ended by itself is noted."""
        if self.process is None:
            raise RuntimeError("this collector does not run")
        ended = self.process.poll()
        if ended is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        else:
            self.endings.append(ended)
        self.process = None

    def revive(self) -> None:
        """Start it again if it has ended, as its supervisor does."""
        if self.process is not None and self.process.poll() is not None:
            self.kill()
        if self.process is None:
            self.start()

    def stop(self) -> None:
        """SIGTERM, and wait for the batch under way."""
        if self.process is None:
            raise RuntimeError("this collector does not run")
        self.process.terminate()
        self.endings.append(self.process.wait(STOP_TIMEOUT_SECONDS))
        self.process = None

    def close(self) -> None:
        if self.process is not None:
            self.kill()

    def log(self) -> str:
        """What every start said."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.err")))


@dataclass(slots=True)
class Days:
    """Makes time pass in a database, and runs commands on its day: a real `mediastore-gc`, whose
    host's clock goes along.
    """

    dsn: str
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    ahead_seconds: float = 0.0

    def install(self) -> None:
        """Let the database's clock be moved, and put the command into `folder`."""
        self._execute(
            "CREATE TABLE days (ahead interval NOT NULL); INSERT INTO days VALUES ('0');"
            "CREATE OR REPLACE FUNCTION catalog_clock() RETURNS timestamptz LANGUAGE sql VOLATILE "
            "AS 'SELECT clock_timestamp() + (SELECT ahead FROM days)'"
        )
        self.folder.mkdir()
        script = self.folder / "mediastore-gc"
        script.write_text(AHEAD.format(python=sys.executable))
        script.chmod(0o755)

    def move_to(self, ahead_seconds: float) -> None:
        """So far ahead of the true clock. A restored database has to be told again."""
        self.ahead_seconds = ahead_seconds
        self._execute(f"UPDATE days SET ahead = '{ahead_seconds} seconds'")

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        """A line of shell with `mediastore-gc` in it, as an operator types it."""
        settings = {**self.settings, "CLOCK_AHEAD_SECONDS": str(self.ahead_seconds)}
        search = os.pathsep.join((str(self.folder), os.environ.get("PATH", "")))
        return subprocess.run(
            ["sh", "-euc", script],
            env={**environment(settings), "PATH": search},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def answer(self, script: str, code: int = 0) -> Any:
        """Its report with `--json`; it must end with this exit code."""
        done = self.run(f"{script.strip()} --json")
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def _execute(self, statements: str) -> None:
        async def execute() -> None:
            connection = await asyncpg.connect(self.dsn)
            try:
                await connection.execute(statements)
            finally:
                await connection.close()

        asyncio.run(execute())
