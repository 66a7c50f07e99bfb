"""What a client is told of its limits before it uploads: its tenant's, where it says who it is."""

from contextlib import suppress

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, SETTINGS
from mediastore.catalog.policy import TenantPolicy
from mediastore.errors import Unauthorized
from mediastore.uploads.policy import UploadPolicy, effective_policy

_TOLD = web.RequestKey("told_policy", UploadPolicy)


async def told_policy(request: web.Request) -> UploadPolicy:
    """OPTIONS needs no key: without one, or with one that is not valid, the service's settings.

    Both protocols ask for the one answer; who it is for is looked up once.
    """
    told: UploadPolicy | None = request.get(_TOLD)
    if told is not None:
        return told
    own = TenantPolicy()
    if "Authorization" in request.headers:
        with suppress(Unauthorized):
            own = (await request.app[AUTHENTICATOR].tenant(request)).policy
    request[_TOLD] = policy = effective_policy(own, request.app[SETTINGS].uploads)
    return policy
