"""A world with a moved clock, collectors with the safe delays, settings for the command."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from mediastore_gc.collector import Collector
from mediastore_gc.safety import CollectionDelays

from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_tenant
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.settings import CatalogSettings, CollectionSettings
from tests.collection_world import DAY, TENANT, MovedClock, World
from tests.faults import FaultyStore

MakeCollector = Callable[..., Collector]


@pytest.fixture
async def world(dsn: str, connection: "asyncpg.Connection[Any]") -> AsyncIterator[World]:
    clock = MovedClock(connection)
    await clock.install()
    async with open_catalog(CatalogSettings(dsn=dsn), clock) as catalog:
        await create_tenant(catalog, TENANT, trash_seconds=DAY)
        yield World(catalog, FaultyStore(MemoryChunkStore()), clock, connection)


@pytest.fixture
def collector(world: World) -> MakeCollector:
    """Makes collectors of the world; keywords change settings."""

    def make(
        delays: CollectionDelays | None = None,
        stop: asyncio.Event | None = None,
        **settings: object,
    ) -> Collector:
        chosen = CollectionSettings(**settings)
        return Collector(
            world.catalog,
            world.store,
            chosen,
            delays or CollectionDelays.from_settings(chosen),
            world.clock,
            worker="test",
            stop=stop or asyncio.Event(),
        )

    return make


@pytest.fixture
def config(dsn: str, tmp_path: Path) -> Path:
    file = tmp_path / "mediastore.toml"
    file.write_text(
        f'[catalog]\ndsn = "{dsn}"\n'
        f'[chunk_store]\ndriver = "directory"\ndirectory = "{tmp_path / "chunks"}"\n'
    )
    return file
