"""Where a handler finds the process's parts: `request.app[CATALOG]`."""

from aiohttp import web

from mediastore.access.authenticator import Authenticator
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import Clock
from mediastore.memory import MemoryBudget
from mediastore.settings import Settings
from mediastore.telemetry.metrics import Metrics
from mediastore.telemetry.requests import RequestObserver

SETTINGS = web.AppKey("settings", Settings)
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
METRICS = web.AppKey("metrics", Metrics)
OBSERVER = web.AppKey("observer", RequestObserver)
MEMORY = web.AppKey("memory", MemoryBudget)
CATALOG = web.AppKey("catalog", Catalog)
CHUNK_STORE: web.AppKey[ChunkStore] = web.AppKey("chunk_store")
AUTHENTICATOR = web.AppKey("authenticator", Authenticator)
