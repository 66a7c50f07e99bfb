"""What a client is told of its limits before it uploads: its tenant's, where it says who it is."""

from contextlib import suppress

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, SETTINGS
from mediastore.catalog.policy import TenantPolicy
from mediastore.errors import Unauthorized
from mediastore.uploads.policy import UploadPolicy, effective_policy


async def told_policy(request: web.Request) -> UploadPolicy:
    """OPTIONS needs no key: without one, or with one that is not valid, the service's settings."""
    own = TenantPolicy()
    if "Authorization" in request.headers:
        with suppress(Unauthorized):
            own = (await request.app[AUTHENTICATOR].tenant(request)).policy
    return effective_policy(own, request.app[SETTINGS].uploads)
