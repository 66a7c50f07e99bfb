"""CORS of a tenant's media: its own origins where its policy names them, else the service's.

Only URLs below `/media/{tenant}/` name a tenant without a key, so only there can a preflight, which
carries none, be answered by the tenant's policy.
"""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from mediastore.catalog.policy import TenantPolicy
from mediastore.cors import Cors, is_preflight, open_cors
from mediastore.errors import MediastoreError
from mediastore.settings import CorsSettings

MEDIA = "/media/"
MEDIA_METHODS = "GET, HEAD, OPTIONS"
KEPT_MAX = 1024
Origins = tuple[str, ...]
PolicyOf = Callable[[web.Request, str], Awaitable[TenantPolicy]]


class TenantCors:
    """Made once from the settings. `policy_of` finds a tenant's policy, or raises."""

    def __init__(self, settings: CorsSettings, policy_of: PolicyOf) -> None:
        self.service = open_cors(settings)
        self._settings = settings
        self._policy_of = policy_of
        self._kept: dict[Origins, Cors] = {}

    def of(self, origins: Origins | None) -> Cors | None:
        """What answers of a tenant with these origins are marked by; None: by nothing."""
        if origins is None:
            return self.service
        cors = self._kept.get(origins)
        if cors is None:
            # Cookies and certificates go to origins that the operator names, not a tenant.
            changes = {"allowed_origins": origins, "credentials": False}
            cors = Cors(self._settings.model_copy(update=changes))
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[origins] = cors
        return cors

    @web.middleware
    async def answer_preflights(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Preflights of URLs that exist are answered here; needed where the service has origins."""
        if request.method != hdrs.METH_OPTIONS or not is_preflight(request):
            return await handler(request)
        missing = request.match_info.http_exception
        if missing is not None and missing.status == web.HTTPNotFound.status_code:
            return await handler(request)
        cors = await self._for(request)
        return await handler(request) if cors is None else cors.preflight(request)

    async def options(self, request: web.Request) -> web.StreamResponse:
        """The handler of OPTIONS below `/media/{tenant}/`."""
        cors = await self._for(request) if is_preflight(request) else None
        if cors is not None:
            return cors.preflight(request)
        return web.Response(
            status=204, headers={"Allow": MEDIA_METHODS, "Cache-Control": "no-store"}
        )

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """An on_response_prepare signal: errors can be read by those who could read the content."""
        cors = await self._for(request)
        if cors is not None:
            await cors.mark(request, response)

    async def _for(self, request: web.Request) -> Cors | None:
        """Who sends no origin is not a page, and nothing is asked for it."""
        tenant = request.match_info.get("tenant")
        if (
            tenant is None
            or not request.path.startswith(MEDIA)
            or hdrs.ORIGIN not in request.headers
        ):
            return self.service
        try:
            policy = await self._policy_of(request, tenant)
        except MediastoreError:
            return self.service
        return self.of(policy.cors_origins)


TENANT_CORS = web.AppKey("tenant_cors", TenantCors)
