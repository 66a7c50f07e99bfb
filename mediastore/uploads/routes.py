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
from mediastore.uploads import dispatch, peek, tus
from mediastore.uploads.admission import Admission
from mediastore.uploads.batch import BatchStore
from mediastore.uploads.before_create import BeforeCreate
from mediastore.uploads.finishing import Finisher
from mediastore.uploads.ietf import resource as ietf
from mediastore.uploads.interim import close_when_unwanted, expect_after_checks
from mediastore.uploads.joining import Joiner
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.pull import PULLS, Pulls
from mediastore.uploads.rechunking import Rechunker
from mediastore.uploads.running_hash import RunningHashes
from mediastore.uploads.service import Uploads
from mediastore.uploads.trust import StoreTrust


def add_routes(app: web.Application) -> None:
    """Serve uploads; call it after the context that opens catalog and chunk store was added."""
    app.cleanup_ctx.append(_uploads)
    app.on_response_prepare.append(close_when_unwanted)
    app.router.add_route("OPTIONS", "/v1/uploads", dispatch.options)
    app.router.add_post("/v1/uploads", dispatch.create, expect_handler=expect_after_checks)
    resource = app.router.add_resource("/v1/uploads/{id}")
    resource.add_route("OPTIONS", dispatch.options)
    resource.add_route("HEAD", peek.or_peek(dispatch.retrieve))
    resource.add_route("GET", ietf.retrieve)
    resource.add_route("PATCH", dispatch.append, expect_handler=expect_after_checks)
    resource.add_route("DELETE", dispatch.cancel)
    resource.add_route("POST", tus.post, expect_handler=expect_after_checks)
    app.router.add_route("OPTIONS", "/v1/objects", dispatch.object_options)
    app.router.add_post("/v1/objects", dispatch.create_object, expect_handler=expect_after_checks)
    app.router.add_post("/v1/uploads/{id}/peek", peek.give_token)
    app.on_shutdown.append(_stop)


async def _uploads(app: web.Application) -> AsyncIterator[None]:
    settings, catalog, store = app[SETTINGS], app[CATALOG], app[CHUNK_STORE]
    memory, metrics = app[MEMORY], app[METRICS]
    trust = StoreTrust(catalog, store, app[CLOCK])
    await trust.ask()
    batches = BatchStore(store, metrics, trust)
    hashes = RunningHashes(settings.uploads.takeover_hashers_max)
    rechunker = Rechunker(catalog, store, batches, memory, hashes, metrics, settings)
    async with open_poster(app[CLOCK]) as poster:
        hook = BeforeCreate(poster, settings, app[CLOCK], metrics)
        admission = Admission(app[AUTHENTICATOR].policies, hook, settings.uploads)
        finisher = Finisher(
            catalog, store, memory, rechunker, admission, settings, app[CLOCK], metrics, trust
        )
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
                trust=trust,
            )
        )
        app[PULLS] = Pulls(settings, metrics)
        app[peek.PEEK_TOKENS] = PeekTokens(catalog, app[CLOCK])
        sweeping = [asyncio.create_task(finisher.sweep()), asyncio.create_task(joiner.sweep())]
        listening = asyncio.create_task(app[UPLOADS].replicas.run())
        counting = asyncio.create_task(app[UPLOADS].open.run())
        asking = asyncio.create_task(trust.keep_asking())
        yield
        for task in (*sweeping, listening, counting, asking):
            task.cancel()
        await asyncio.gather(listening, counting, return_exceptions=True)
        await rechunker.close()
        await finisher.close()


async def _stop(app: web.Application) -> None:
    await app[UPLOADS].stop()
