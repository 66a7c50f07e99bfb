"""The CDNs that the settings name."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from mediastore.clock import Clock
from mediastore.events.cdn.cloudflare import Cloudflare
from mediastore.events.cdn.cloudfront import open_cloudfront
from mediastore.events.cdn.fastly import Fastly
from mediastore.events.cdn.protocol import PurgeClient, Purger
from mediastore.events.cdn.webhook import Webhook
from mediastore.hooks.posting import Poster
from mediastore.settings import PurgeSettings


@asynccontextmanager
async def open_purgers(
    settings: PurgeSettings, poster: Poster, clock: Clock
) -> AsyncIterator[list[Purger]]:
    """None of them for settings that name none."""
    async with AsyncExitStack() as stack:
        purgers: list[Purger] = []
        if settings.fastly_service_id is not None or settings.cloudflare_zone_id is not None:
            session = await stack.enter_async_context(
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
            )
            client = PurgeClient(session, settings.timeout_seconds)
            purgers += _over_http(settings, client)
        if settings.cloudfront_distribution_id is not None:
            secret = settings.cloudfront_secret_access_key
            cloudfront = open_cloudfront(
                settings.cloudfront_distribution_id,
                endpoint_url=settings.cloudfront_endpoint_url,
                access_key_id=settings.cloudfront_access_key_id,
                secret_access_key=None if secret is None else secret.get_secret_value(),
                timeout_seconds=settings.timeout_seconds,
            )
            purgers.append(await stack.enter_async_context(cloudfront))
        if settings.webhook_url is not None and settings.webhook_secret is not None:
            key = settings.webhook_secret.get_secret_value()
            purgers.append(
                Webhook(poster, clock, settings.webhook_url, key, settings.timeout_seconds)
            )
        yield purgers


def _over_http(settings: PurgeSettings, client: PurgeClient) -> list[Purger]:
    purgers: list[Purger] = []
    if settings.fastly_service_id is not None and settings.fastly_token is not None:
        token = settings.fastly_token.get_secret_value()
        purgers.append(
            Fastly(
                client,
                settings.fastly_url,
                settings.fastly_service_id,
                token,
                soft=settings.fastly_soft,
            )
        )
    if settings.cloudflare_zone_id is not None and settings.cloudflare_token is not None:
        token = settings.cloudflare_token.get_secret_value()
        purgers.append(
            Cloudflare(client, settings.cloudflare_url, settings.cloudflare_zone_id, token)
        )
    return purgers
