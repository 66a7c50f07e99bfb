"""`mediastore dev`: everything the service needs, under one data folder, from nothing.

    DIR/postgres         the database of a local Postgres (its log: DIR/postgres.log)
    DIR/chunks           the directory chunk store
    DIR/dev-api-key      the key of tenant `dev`, reused by every start
    DIR/dev-link-secret  what signed links are made with, reused as well
    DIR/mediastore.toml  a configuration for mediastore and mediastore-gc; written by every start
    DIR/dev.lock         held while it runs

It is durable like production and keeps the safe delays of collection. Postgres starts first and
stops last, after the service has drained; a Postgres that dies is started again.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import asyncpg
import structlog

from mediastore.catalog import tenants
from mediastore.catalog.migrations import migrate
from mediastore.catalog.pool import open_catalog, translation_door
from mediastore.clock import Clock
from mediastore.errors import BadSettings, MediastoreError
from mediastore.local.lock import folder_lock
from mediastore.local.postgres import LocalPostgres
from mediastore.serving import Listening, run, serve
from mediastore.settings import MIB, Settings, load_settings
from mediastore.telemetry.logs import configure_logs

log = structlog.get_logger(__name__)

DATABASE = "mediastore"
TENANT = "dev"
POSTGRES_LOG_MAX_BYTES = 16 * MIB
POSTGRES_POLL_SECONDS = 1.0
LINK_SECRET_LENGTH = 43  # of 32 bytes in base64url


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The paths of the table above."""

    root: Path

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def postgres_log(self) -> Path:
        return self.root / "postgres.log"

    @property
    def chunks(self) -> Path:
        return self.root / "chunks"

    @property
    def key(self) -> Path:
        return self.root / "dev-api-key"

    @property
    def link_secret(self) -> Path:
        return self.root / "dev-link-secret"

    @property
    def config(self) -> Path:
        return self.root / "mediastore.toml"


def develop(
    host: str, port: int, data: Path, clock: Clock, *, say: Callable[[str], None] = print
) -> int:
    """Run until stopped by a signal; the exit code. Raises MediastoreError if it cannot start."""
    folder = DataFolder(data.absolute())
    try:
        folder.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"cannot use {folder.root} as data folder: {error.strerror}") from None
    with folder_lock(folder.root):
        _keep_log_small(folder.postgres_log)
        postgres = LocalPostgres(folder.postgres, folder.postgres_log)
        with _stopped_last(postgres):
            postgres.start()
            for opened in postgres.opened_folders:
                say(f"note: {opened} can now be passed through (o+x), for Postgres's own account")
            return run(_develop(host, port, folder, postgres, clock, say))


async def _develop(
    host: str,
    port: int,
    folder: DataFolder,
    postgres: LocalPostgres,
    clock: Clock,
    say: Callable[[str], None],
) -> None:
    dsn = postgres.dsn(DATABASE)
    await _ensure_database(postgres.dsn("postgres"))
    await migrate(dsn)
    link_secret = _ensure_link_secret(folder.link_secret)
    write_config(folder, dsn, host, port, link_secret)
    # Given as flags, not left to the file alone: an environment that points to a production
    # database or store must not win here.
    settings = load_settings(
        folder.config,
        http={"host": host, "port": port},
        catalog={"dsn": dsn},
        chunk_store={"driver": "directory", "directory": folder.chunks},
    )
    configure_logs(settings.log)
    key = await _ensure_key(settings, clock, folder.key)
    async with _kept_running(postgres, clock):
        await serve(
            settings, clock, on_listening=lambda listening: say(welcome(listening, key, folder))
        )


def write_config(folder: DataFolder, dsn: str, host: str, port: int, link_secret: str) -> None:
    """The TOML that other commands take to meet this server's database and chunk store."""
    # A JSON string is a TOML basic string.
    text = f"""\
# Written by 'mediastore dev' at every start; set MEDIASTORE_… variables to change a setting.
[http]
host = {json.dumps(host)}
port = {port}
metrics_port = 0

[catalog]
dsn = {json.dumps(dsn)}

[chunk_store]
driver = "directory"
directory = {json.dumps(str(folder.chunks))}

[links]
keys = [{{ id = "dev", secret = {json.dumps(link_secret)} }}]
"""
    _write_private(folder.config, text)


def welcome(listening: Listening, key: str, folder: DataFolder) -> str:
    """What a developer needs to know, every command ready to be pasted."""
    url, key_file = listening.url, shlex.quote(str(folder.key))
    config = shlex.quote(str(folder.config))
    # Where this was installed: `make run` activates no environment.
    collector = shlex.quote(str(Path(sys.executable).with_name("mediastore-gc")))
    return f"""
mediastore is running at {url} (Ctrl-C stops it)

  API key   {key}
            (tenant {TENANT!r}; kept in {folder.key})
  metrics   {listening.metrics_url}
  data      {folder.root}

Store something and read it back; paste this into another terminal:

  KEY=$(cat {key_file})
  ID=$(echo 'Hello, mediastore.' | curl -sS --data-binary @- -H "Authorization: Bearer $KEY" \\
    -H 'Content-Type: text/plain' '{url}/v1/objects?name=hello.txt' \\
    | sed 's/.*"id": *"\\([^"]*\\)".*/\\1/')
  curl -sS -H "Authorization: Bearer $KEY" "{url}/v1/objects/$ID/content"
  # a link that opens it in a browser, for an hour or two
  curl -sS -X POST -H "Authorization: Bearer $KEY" "{url}/v1/objects/$ID/links"

What collection would do (its delays are the safe ones: space comes back after days):

  {collector} --config {config} plan

To watch deleted objects' space come back at once, on data that you can lose:

  {collector} --config {config} run --once --delete --unsafe-delays \\
    --trash-delay 0 --revive-delay 0 --recovery-window 0 --recovery-margin 0
"""


async def _ensure_database(dsn: str) -> None:
    with translation_door():
        connection = await asyncpg.connect(dsn)
        try:
            found = await connection.fetchval(
                "SELECT true FROM pg_database WHERE datname = $1", DATABASE
            )
            if not found:
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()


async def _ensure_key(settings: Settings, clock: Clock, path: Path) -> str:
    """The key in `path` if it still is a valid one, else a new one, kept there."""
    async with open_catalog(settings.catalog, clock) as catalog:
        if path.exists():
            kept = path.read_text().strip()
            tenant = await tenants.find_tenant_by_secret(catalog, kept)
            if tenant is not None and tenant.id == TENANT:
                return kept
        if await tenants.get_tenant(catalog, TENANT) is None:
            await tenants.create_tenant(catalog, TENANT)
        key = await tenants.create_api_key(catalog, TENANT, name="mediastore dev")
    _write_private(path, key + "\n")
    return key


def _ensure_link_secret(path: Path) -> str:
    """The secret in `path` if it is long enough to be one, else a new one, kept there."""
    if path.exists() and len(kept := path.read_text().strip()) >= LINK_SECRET_LENGTH:
        return kept
    made = secrets.token_urlsafe(32)
    _write_private(path, made + "\n")
    return made


@asynccontextmanager
async def _kept_running(postgres: LocalPostgres, clock: Clock) -> AsyncIterator[None]:
    """While inside, a Postgres that ended is started again."""

    async def watch() -> None:
        while True:
            await clock.sleep(POSTGRES_POLL_SECONDS)
            if postgres.running:
                continue
            log.warning("postgres_ended", detail="starting it again", log=str(postgres.log))
            try:
                await asyncio.to_thread(postgres.start)
            except MediastoreError as error:
                log.error("postgres_start_failed", detail=error.detail)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


@contextmanager
def _stopped_last(postgres: LocalPostgres) -> Iterator[None]:
    """However the inside ends, stop Postgres; signals that come meanwhile do not prevent it."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        postgres.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_private(path: Path, text: str) -> None:
    """Replace `path` as a whole; only its owner can read it, at no moment anybody else."""
    fresh = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _keep_log_small(path: Path) -> None:
    if path.exists() and path.stat().st_size > POSTGRES_LOG_MAX_BYTES:
        path.replace(path.with_name(path.name + ".1"))
