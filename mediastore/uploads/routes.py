"""The URLs of uploads, and the resources behind them."""

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
from mediastore.lasting import lasting
from mediastore.uploads import dispatch, peek, tus
from mediastore.uploads.assembly import assemble
from mediastore.uploads.ietf import resource as ietf
from mediastore.uploads.interim import close_when_unwanted, expect_after_checks
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.pull import PULLS, Pulls
from mediastore.uploads.service import Uploads


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
    async with open_poster(app[CLOCK]) as poster:
        parts = assemble(
            app[SETTINGS],
            app[CLOCK],
            app[CATALOG],
            app[CHUNK_STORE],
            app[MEMORY],
            app[METRICS],
            policies=app[AUTHENTICATOR].policies,
            poster=poster,
        )
        await parts.trust.ask()
        app[UPLOADS] = uploads = Uploads(parts)
        app[PULLS] = Pulls(app[SETTINGS], app[METRICS])
        app[peek.PEEK_TOKENS] = PeekTokens(app[CATALOG], app[CLOCK])
        async with lasting(
            app[CLOCK],
            parts.finisher.sweep,
            parts.joiner.sweep,
            uploads.replicas.run,
            uploads.open.run,
            parts.trust.keep_asking,
        ):
            yield
        await parts.rechunker.close()
        await parts.finisher.close()


async def _stop(app: web.Application) -> None:
    await app[UPLOADS].stop()
