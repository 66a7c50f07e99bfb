"""The URLs of uploads, and the resources behind them."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from mediastore.access.peek_tokens import PeekTokens
from mediastore.app_keys import (
    AUTHENTICATOR,
    CATALOG,
    CHUNK_STORE,
    CLOCK,
    MEMORY,
    METRICS,
    SETTINGS,
)
from mediastore.hooks.posting import open_poster
from mediastore.uploads import peek, raw, tus
from mediastore.uploads.admission import Admission
from mediastore.uploads.batch import BatchStore
from mediastore.uploads.before_create import BeforeCreate
from mediastore.uploads.finishing import Finisher
from mediastore.uploads.joining import Joiner
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.rechunking import Rechunker
from mediastore.uploads.running_hash import RunningHashes
from mediastore.uploads.service import Uploads


def add_routes(app: web.Application) -> None:
    """Serve uploads; call it after the context that opens catalog and chunk store was added."""
    app.cleanup_ctx.append(_uploads)
    app.router.add_route("OPTIONS", "/v1/uploads", tus.options)
    app.router.add_post("/v1/uploads", tus.create)
    resource = app.router.add_resource("/v1/uploads/{id}")
    resource.add_route("OPTIONS", tus.options)
    resource.add_route("HEAD", peek.or_peek(tus.head))
    resource.add_route("PATCH", tus.patch)
    resource.add_route("DELETE", tus.delete)
    resource.add_route("POST", tus.post)
    app.router.add_post("/v1/uploads/{id}/peek", peek.give_token)
    app.router.add_post("/v1/objects", raw.create)
    app.on_shutdown.append(_stop)


async def _uploads(app: web.Application) -> AsyncIterator[None]:
    settings, catalog, store = app[SETTINGS], app[CATALOG], app[CHUNK_STORE]
    memory, metrics = app[MEMORY], app[METRICS]
    batches = BatchStore(catalog, store, metrics)
    hashes = RunningHashes(settings.uploads.takeover_hashers_max)
    rechunker = Rechunker(catalog, store, batches, memory, hashes, metrics, settings)
    async with open_poster(app[CLOCK]) as poster:
        hook = BeforeCreate(poster, settings, app[CLOCK], metrics)
        admission = Admission(app[AUTHENTICATOR].policies, hook, settings.uploads)
        finisher = Finisher(catalog, store, memory, rechunker, admission, settings, app[CLOCK])
        joiner = Joiner(catalog, hashes, finisher, admission, metrics, app[CLOCK])
        app[UPLOADS] = Uploads(
            UploadParts(
                settings=settings,
                clock=app[CLOCK],
                catalog=catalog,
                store=store,
                memory=memory,
                metrics=metrics,
                batches=batches,
                hashes=hashes,
                rechunker=rechunker,
                finisher=finisher,
                joiner=joiner,
                admission=admission,
            )
        )
        app[peek.PEEK_TOKENS] = PeekTokens(catalog, app[CLOCK])
        sweeping = [asyncio.create_task(finisher.sweep()), asyncio.create_task(joiner.sweep())]
        listening = asyncio.create_task(app[UPLOADS].replicas.run())
        counting = asyncio.create_task(app[UPLOADS].open.run())
        yield
        for task in (*sweeping, listening, counting):
            task.cancel()
        await asyncio.gather(listening, counting, return_exceptions=True)
        await rechunker.close()
        await finisher.close()


async def _stop(app: web.Application) -> None:
    await app[UPLOADS].stop()
