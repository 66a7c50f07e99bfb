"""A history of uploads, deletions and collections on a real Postgres with backups, and restores to
its moments, by the commands of docs/restoring.md.

Days pass in the database (collector.py), delays are the safe ones. Everything is kept as it was at
the end: each restore begins there, with the old database running.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from bench.processes import minio
from mediastore.catalog.migrations import migrate
from tests.acceptance.client import Client
from tests.acceptance.collector import Days
from tests.acceptance.conftest import (
    SMALL_CHUNKS,
    assert_clean_logs,
    operate,
    s3_store,
    servers_on,
    write_config,
)
from tests.acceptance.content import content
from tests.acceptance.keys import bucket_keys
from tests.acceptance.server import ROOT, Server
from tests.acceptance.system_postgres import SystemPostgres, asked

T = TypeVar("T")

HOUR = 3600
WINDOW = 7 * 24 * HOUR
MARGIN = HOUR
REVIVE = HOUR
SIZES = (0, 100, 5_000, 60_000, 400_000)
SETTINGS = {**SMALL_CHUNKS, "MEDIASTORE_MEMORY__CHUNK_CACHE_BYTES": "0"}


@dataclass(frozen=True, slots=True)
class Commands:
    """The blocks of docs/restoring.md, in its order, with other places in them."""

    archive: str
    backup: str
    stop: str
    restore: str
    collect: str
    look: str
    apply: str
    collect_again: str
    orphans: str

    @classmethod
    def read(cls, backup: Path, config: Path) -> "Commands":
        text = (ROOT / "docs" / "restoring.md").read_text()
        text = text.replace("/backup/", f"{backup}/").replace("/etc/mediastore.toml", str(config))
        return cls(*re.findall(r"^```(?:sh|ini)\n(.*?)^```", text, re.DOTALL | re.MULTILINE))

    def restore_to(self, target: str) -> str:
        script, found = re.subn(r'TARGET="[^"]*"', lambda _: f'TARGET="{target}"', self.restore)
        assert found == 1
        return script


@dataclass(frozen=True, slots=True)
class Moment:
    """What was live then, by id; an upload that was half through; how Postgres is told of it."""

    target: str
    objects: dict[str, bytes]
    upload: str
    acknowledged: int


@dataclass(slots=True)
class Restored:
    """A service on the database as it was at `moment`, and the store as it is now."""

    moment: Moment
    server: Server
    days: Days
    commands: Commands
    store_url: str

    @property
    def client(self) -> Client:
        return self.server.client()

    def keys(self) -> set[str]:
        """Every key of a chunk in the bucket."""
        return bucket_keys(self.store_url)

    def ask(self, work: "Callable[[asyncpg.Connection[Any]], Awaitable[T]]") -> T:
        """What a question to the database says."""
        return asked(self.days.dsn, work)


@dataclass(slots=True)
class History:
    """`ahead_seconds`: where the database's clock is at its end."""

    folder: Path
    postgres: SystemPostgres
    commands: Commands
    days: Days
    key: str = ""
    moments: dict[str, Moment] = field(default_factory=dict)
    ahead_seconds: float = 0.0

    @contextmanager
    def restored(self, name: str) -> Iterator[Restored]:
        """The database as it was at this moment; the store and the clock stay at the end."""
        self._rewind()
        moment = self.moments[name]
        try:
            self.postgres.start()
            self.postgres.run(self.commands.stop)
            self.postgres.run(self.commands.restore_to(moment.target))
            self.days.move_to(self.ahead_seconds)
            with minio(self.folder, []) as store:
                config = write_config(self.folder, self.postgres.dsn(), **s3_store(store.url))
                server = Server(
                    ["serve", "--config", str(config), "--host", "127.0.0.1"],
                    self.folder / f"log-{name}",
                    SETTINGS,
                    config=config,
                    key=self.key,
                )
                try:
                    server.start()
                    yield Restored(moment, server, self.days, self.commands, store.url)
                finally:
                    server.close()
            assert_clean_logs([server])
        finally:
            self.postgres.close()

    def keep(self) -> None:
        (self.folder / "kept").mkdir()
        for folder in self._folders():
            _copy(folder, self.folder / "kept" / folder.name)

    def _rewind(self) -> None:
        shutil.rmtree(self.postgres.folder / "data.before", ignore_errors=True)
        for folder in self._folders():
            shutil.rmtree(folder, ignore_errors=True)
            _copy(self.folder / "kept" / folder.name, folder)

    def _folders(self) -> tuple[Path, ...]:
        return (self.postgres.data, self.postgres.folder / "backup", self.folder / "minio")


class Writing:
    """Makes a history; the present."""

    def __init__(self, history: History, client: Client) -> None:
        self._history = history
        self._client = client
        self._live: dict[str, bytes] = {}
        self._data = content(200_000, seed=99)
        self._upload = client.create(len(self._data))
        assert client.patch(self._upload, 0, self._data[:90_000]).offset == 90_000
        self._acknowledged = 90_000

    def at(self, hours: float) -> None:
        """Let the clock be there."""
        self._history.ahead_seconds = hours * HOUR
        self._history.days.move_to(hours * HOUR)

    def upload(self, seed: int) -> None:
        """Files of every size; two alike, and one that shares most of its chunks with another."""
        files = [content(size, seed) for size in SIZES]
        files += [files[-2], files[-1][:300_000] + content(20_000, seed + 1000)]
        for data in files:
            self._live[self._client.made(data)["id"]] = data

    def delete(self, every: int) -> None:
        for id_ in sorted(self._live)[::every]:
            assert self._client.delete(f"/v1/objects/{id_}").status == 200
            del self._live[id_]

    def go_on(self) -> None:
        """Of the upload that is under way, another part."""
        piece = self._data[self._acknowledged : self._acknowledged + 20_000]
        answer = self._client.patch(self._upload, self._acknowledged, piece)
        self._acknowledged = answer.offset

    def collect(self) -> dict[str, int]:
        report: dict[str, int] = self._history.days.answer(self._history.commands.collect)
        return report

    def doom(self, hours: float) -> None:
        """What was deleted becomes garbage, and its keys are doomed as soon as they may be."""
        self.collect()
        self.at(hours + REVIVE / HOUR)
        assert self.collect()["doomed_keys"] > 0

    def remember(self, name: str, target: str) -> None:
        """This moment; `target` has a place for what Postgres calls it."""
        queries = {
            "time": "SELECT clock_timestamp()::text",
            "lsn": "SELECT pg_current_wal_insert_lsn()::text",
            "name": f"SELECT '{name}' FROM pg_create_restore_point('{name}')",
        }
        (kind,) = (kind for kind in queries if f"{{{kind}}}" in target)

        async def find_out(connection: "asyncpg.Connection[Any]") -> str:
            return str(await connection.fetchval(queries[kind]))

        target = target.format_map({kind: asked(self._history.days.dsn, find_out)})
        moment = Moment(target, dict(self._live), self._upload, self._acknowledged)
        self._history.moments[name] = moment


def write_history(folder: Path) -> History:
    """Nine days. Deleted things are doomed an hour after their deletion and deleted 7 days and an
    hour later, so at the end, day 9, the moment `edge`, just under 7 days ago, is the oldest one of
    which nothing may be missing.
    """
    postgres = SystemPostgres(folder / "postgres")
    backup = postgres.folder / "backup"
    commands = Commands.read(backup, folder / "mediastore.toml")
    days = Days(
        postgres.dsn(),
        folder / "bin",
        {"MEDIASTORE_COLLECTION__REVIVE_DELAY_SECONDS": str(REVIVE)},
    )
    history = History(folder, postgres, commands, days)
    for made in (postgres.folder, backup, backup / "wal"):
        made.mkdir()
        postgres.owner.give(made)
    try:
        postgres.make(commands.archive, fsync="off")
        postgres.start()
        asyncio.run(migrate(postgres.dsn()))
        days.install()
        with (
            minio(folder, ["bucket"]) as store,
            servers_on(postgres.dsn(), folder, **s3_store(store.url)) as make,
        ):
            policy = ("trash_seconds=0", f"upload_expires_seconds={30 * 24 * HOUR}")
            operate(folder / "mediastore.toml", "tenant", "set", "acme", *policy)
            server = make(**SETTINGS)
            server.start()
            history.key = server.key
            _live_through(Writing(history, server.client()), postgres, commands)
        postgres.stop()
        history.keep()
    finally:
        postgres.close()
    return history


def _live_through(now: Writing, postgres: SystemPostgres, commands: Commands) -> None:
    now.upload(1)
    postgres.run(commands.backup)
    now.upload(2)
    now.remember("long ago", "recovery_target_time = '{time}'")
    now.delete(2)
    now.doom(0)

    now.at(24)
    now.upload(2)  # doomed bytes again: new keys
    now.upload(3)
    now.delete(3)
    now.doom(24)

    now.at(48)
    now.upload(4)
    now.go_on()
    now.remember("edge", "recovery_target_time = '{time}'")
    now.delete(3)
    now.doom(48)

    now.at(100)
    now.upload(5)
    now.go_on()
    now.remember("middle", "recovery_target_lsn = '{lsn}'\nrecovery_target_inclusive = 'false'")
    now.delete(4)
    now.doom(100)

    now.at((WINDOW + MARGIN + REVIVE) / HOUR + 1)
    assert now.collect()["deleted_keys"] > 0, "of the first day"
    now.upload(6)
    now.remember("recent", "recovery_target_name = '{name}'")
    now.delete(5)
    now.upload(7)
    now.at(48 + WINDOW / HOUR)
    assert now.collect()["deleted_keys"] > 0, "of the second day"


def _copy(source: Path, target: Path) -> None:
    """With owners and modes."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
