"""The servers on the same files: mediastore, a bare aiohttp handler, nginx."""

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Server, free_port, program, running
from mediastore.catalog.migrations import migrate
from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_api_key, create_tenant
from mediastore.clock import SystemClock
from mediastore.links import round_up_expiry, sign_link, tenant_link_secret
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import load_settings

SERVE = (sys.executable, "-c", "from mediastore.cli import main; main()", "serve")
TENANT, PRIVATE_TENANT = "bench", "private"
CONFIG = "mediastore.toml"
KEY_ID, LINK_SECRET = "bench", "the secret that the links of a measurement are signed with"


@dataclass(frozen=True, slots=True)
class Target:
    """One URL for each file name, and what a request for it carries."""

    name: str
    server: Server
    paths: Mapping[str, str]
    headers: Mapping[str, str]

    def url(self, file: str) -> str:
        return self.server.url + self.paths[file]


@contextmanager
def targets(folder: Path, files: Mapping[str, bytes]) -> Iterator[dict[str, Target]]:
    """All servers, started and holding `files`, by name."""
    static = folder / "files"
    static.mkdir()
    for name, content in files.items():
        (static / name).write_bytes(content)
    folder.chmod(0o755)  # nginx's worker is another user
    with ExitStack() as stack:
        plain = {name: f"/{name}" for name in files}
        bare = stack.enter_context(_bare(folder, static))
        nginx = stack.enter_context(_nginx(folder, static))
        service, media, objects, key = stack.enter_context(mediastore(folder, files))
        bearer = {"Authorization": f"Bearer {key}"}
        signed = _signed(service, asyncio.run(_key(folder / CONFIG, PRIVATE_TENANT)), files)
        yield {
            "signed": Target("mediastore, `/media` by a signed link", service, signed, {}),
            "media": Target("mediastore, `/media` of a public tenant", service, media, {}),
            "object": Target("mediastore, `/v1/objects/…/content`", service, objects, bearer),
            "bare": Target("bare aiohttp", bare, plain, {}),
            "nginx": Target("nginx", nginx, plain, {}),
        }


@contextmanager
def _bare(folder: Path, static: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "bench.origin.bare", str(static), str(port)]
    with running(command, port, folder / "bare.log") as server:
        yield server


@contextmanager
def _nginx(folder: Path, static: Path) -> Iterator[Server]:
    """One worker, sendfile, the files in the page cache, its access log on as ours is."""
    port = free_port()
    config = folder / "nginx.conf"
    temporary = "\n".join(
        f"    {kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(f"""\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 512; }}
http {{
{temporary}
    access_log {folder}/nginx-access.log;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    open_file_cache max=100;
    default_type image/jpeg;
    server {{
        listen 127.0.0.1:{port};
        root {static};
    }}
}}
""")
    nginx = [program("nginx"), "-c", str(config), "-e", str(folder / "nginx-error.log")]
    with running(nginx, port, folder / "nginx.log") as server:
        yield server


@contextmanager
def mediastore(
    folder: Path, files: Mapping[str, bytes]
) -> Iterator[tuple[Server, dict[str, str], dict[str, str], str]]:
    """The service with its default settings, metrics and access log on, on a directory store."""
    postgres = LocalPostgres(folder / "postgres", folder / "postgres.log")
    postgres.start()
    try:
        port = free_port()
        config = folder / CONFIG
        config.write_text(f"""\
[http]
port = {port}
metrics_port = 0
[catalog]
dsn = "{postgres.dsn("postgres")}"
[chunk_store]
driver = "directory"
directory = "{folder / "chunks"}"
[links]
keys = [{{id = "{KEY_ID}", secret = "{LINK_SECRET}"}}]
""")
        asyncio.run(_migrate(config))
        key = asyncio.run(_key(config, TENANT))
        with running([*SERVE, "--config", str(config)], port, folder / "mediastore.log") as server:
            made = {name: _upload(server, key, content) for name, content in files.items()}
            media = {name: links["media"] for name, links in made.items()}
            objects = {name: links["content"] for name, links in made.items()}
            yield server, media, objects, key
    finally:
        postgres.stop()


@contextmanager
def workers(folder: Path, count: int) -> Iterator[Server]:
    """The same service once more, as `count` processes behind one port."""
    port = free_port()
    command = [*SERVE, "--config", str(folder / CONFIG), "--port", str(port)]
    log = folder / f"workers-{count}.log"
    with running([*command, "--workers", str(count)], port, log) as server:
        yield server


async def _migrate(config: Path) -> None:
    await migrate(load_settings(config).catalog.dsn.get_secret_value())


async def _key(config: Path, tenant: str) -> str:
    async with open_catalog(load_settings(config).catalog, SystemClock()) as catalog:
        await create_tenant(catalog, tenant, public=tenant == TENANT)
        return await create_api_key(catalog, tenant, name="bench")


def _signed(server: Server, key: str, files: Mapping[str, bytes]) -> dict[str, str]:
    """Links to `files` of a private tenant, good for longer than any measurement takes."""
    secret = tenant_link_secret(LINK_SECRET, PRIVATE_TENANT)
    expires = round_up_expiry(time.time() + 3600)
    return {
        name: sign_link(
            _upload(server, key, content)["media"], expires=expires, key_id=KEY_ID, secret=secret
        )
        for name, content in files.items()
    }


def _upload(server: Server, key: str, content: bytes) -> dict[str, str]:
    request = urllib.request.Request(
        f"{server.url}/v1/objects?name=photo.jpg",
        data=content,
        headers={"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        links: dict[str, str] = json.load(response)["links"]
        return links
