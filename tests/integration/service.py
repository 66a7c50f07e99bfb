"""The whole application on a test's own database and folder, as `mediastore serve` builds it."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import asyncpg
from aiohttp import web
from blake3 import blake3

from mediastore.app import build_app
from mediastore.app_keys import METRICS
from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_api_key, create_tenant
from mediastore.clock import SystemClock
from mediastore.delivery.keys import DELIVERY
from mediastore.front import AppRunner
from mediastore.settings import Settings, load_settings
from tests.faults import FaultyStore

Connection: TypeAlias = "asyncpg.Connection[Any]"
SMALL_CHUNKS = {"size_min_bytes": 1024, "size_average_bytes": 4096, "size_max_bytes": 8192}


@dataclass(slots=True)
class Service:
    """A running application, a client with its address as base, and what tests may reach into."""

    app: web.Application
    client: aiohttp.ClientSession
    port: int
    store: FaultyStore
    chunks: Path
    slow_sockets: list[socket.socket] = field(default_factory=list)

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value now; 0 when it has none yet."""
        return self.app[METRICS].registry.get_sample_value(f"mediastore_{name}", labels) or 0

    def file_of(self, chunk: bytes) -> Path:
        """The file that holds `chunk` in the directory store."""
        hash_ = blake3(chunk).hexdigest()
        (found,) = [
            path
            for path in self.chunks.rglob("*")
            if path.is_file() and hash_ in "".join(path.relative_to(self.chunks).parts)
        ]
        return found

    async def raw(self, request: bytes) -> bytes:
        """Everything that a request gets, until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        return answer

    async def slow_socket(self, request: bytes) -> socket.socket:
        """A connection that has sent `request` and reads nothing, with little room to receive."""
        connection = socket.socket()
        self.slow_sockets.append(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", self.port))
        await loop.sock_sendall(connection, request)
        return connection


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return as soon as `condition` holds; TimeoutError if that takes too long to be right."""
    async with asyncio.timeout(30):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.01)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def make_tenant(settings: Settings, name: str, *, public: bool = False) -> str:
    """A tenant, and a key of it."""
    async with open_catalog(settings.catalog, SystemClock()) as catalog:
        await create_tenant(catalog, name, public=public)
        return await create_api_key(catalog, name, name="test")


def settings_on(dsn: str, folder: Path, **sections: Any) -> Settings:
    sections.setdefault("chunking", SMALL_CHUNKS)
    sections.setdefault("http", {"access_log": False})
    sections.setdefault("images", {"probes_at_once": 0})  # most content here is noise
    store = {"driver": "directory", "directory": str(folder / "chunks")}
    return load_settings(None, catalog={"dsn": dsn}, chunk_store=store, **sections)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    app = build_app(settings, clock=SystemClock())
    runner = AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        reads = app[DELIVERY].parts.store
        store = FaultyStore(reads._store)
        reads._store = store  # between what verifies and everything that the settings ask for
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            service = Service(app, client, port, store, settings.chunk_store.directory)
            try:
                yield service
            finally:
                for connection in service.slow_sockets:
                    connection.close()
    finally:
        await runner.cleanup()


async def upload(
    service: Service, key: str, content: bytes, *, content_type: str = "image/jpeg", **query: str
) -> dict[str, Any]:
    """The document of a new object."""
    headers = bearer(key) | {"Content-Type": content_type}
    async with service.client.post(
        "/v1/objects", params=query, data=io.BytesIO(content), headers=headers
    ) as response:
        assert response.status == 201, await response.text()
        document: dict[str, Any] = await response.json()
        return document
