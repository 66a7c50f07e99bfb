"""The three servers on the same files: mediastore, a bare aiohttp handler, nginx."""

import asyncio
import json
import sys
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
from mediastore.local.postgres import LocalPostgres
from mediastore.settings import load_settings

TENANT = "bench"


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
        yield {
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
        config = folder / "mediastore.toml"
        config.write_text(f"""\
[http]
port = {port}
metrics_port = 0
[catalog]
dsn = "{postgres.dsn("postgres")}"
[chunk_store]
driver = "directory"
directory = "{folder / "chunks"}"
""")
        key = asyncio.run(_key(config))
        command = [sys.executable, "-c", "from mediastore.cli import main; main()"]
        arguments = ["serve", "--config", str(config)]
        with running([*command, *arguments], port, folder / "mediastore.log") as server:
            made = {name: _upload(server, key, content) for name, content in files.items()}
            media = {name: links["media"] for name, links in made.items()}
            objects = {name: links["content"] for name, links in made.items()}
            yield server, media, objects, key
    finally:
        postgres.stop()


async def _key(config: Path) -> str:
    settings = load_settings(config)
    await migrate(settings.catalog.dsn.get_secret_value())
    async with open_catalog(settings.catalog, SystemClock()) as catalog:
        await create_tenant(catalog, TENANT, public=True)
        return await create_api_key(catalog, TENANT, name="bench")


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
