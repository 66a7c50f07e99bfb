"""The interfaces of CDN vendors, as far as purges use them, answering as their documentation says.

Fastly: API reference, "Purge multiple surrogate key tags". Cloudflare: API reference, "Purge cached
content", and "Rate limits". CloudFront: API reference, CreateInvalidation.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

FASTLY_KEYS_MAX = 256
CLOUDFLARE_TAGS_MAX = 100
TOKEN = "token"
SERVICE, ZONE, DISTRIBUTION = (
    "SU1Z0isxPaozGVKXdv0eY",
    "023e105f4ecef8ad9ca31a8372d0c353",
    "EDFDVBD6",
)
_ITEM = re.compile(r"<Path>([^<]*)</Path>")
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Purged:
    """One call that was taken."""

    cdn: str
    tags: tuple[str, ...]
    soft: bool = False


@dataclass(slots=True)
class Vendors:
    """All three on one port. `failing` answers instead of a CDN, for as long as it is there."""

    url: str = ""
    purged: list[Purged] = field(default_factory=list)
    failing: dict[str, Answering] = field(default_factory=dict)
    calls: int = 0

    def of(self, cdn: str, *, soft: bool = False) -> list[str]:
        """The tags that a CDN has purged, in order."""
        return [
            tag
            for purged in self.purged
            for tag in purged.tags
            if (purged.cdn, purged.soft) == (cdn, soft)
        ]

    def fails(self, cdn: str, status: int, **headers: str) -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=status, text="no", headers=headers)

        self.failing[cdn] = answer

    async def fastly(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        if "fastly" in self.failing:
            return await self.failing["fastly"](request)
        if request.headers.get("Fastly-Key") != TOKEN:
            return web.json_response(
                {"msg": "Provided credentials are missing or invalid"}, status=401
            )
        keys = (await request.json())["surrogate_keys"]
        if not 0 < len(keys) <= FASTLY_KEYS_MAX or request.match_info["service"] != SERVICE:
            return web.json_response({"msg": "Bad request"}, status=400)
        soft = request.headers.get("Fastly-Soft-Purge") == "1"
        self.purged.append(Purged("fastly", tuple(keys), soft))
        return web.json_response({key: f"108-1391560174-{n}" for n, key in enumerate(keys)})

    async def cloudflare(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        if "cloudflare" in self.failing:
            return await self.failing["cloudflare"](request)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _cloudflare(403, 10000, "Authentication error")
        tags = (await request.json())["tags"]
        if not 0 < len(tags) <= CLOUDFLARE_TAGS_MAX or request.match_info["zone"] != ZONE:
            return _cloudflare(400, 1134, "Unable to purge: too many tags")
        self.purged.append(Purged("cloudflare", tuple(tags)))
        return web.json_response(
            {"success": True, "errors": [], "messages": [], "result": {"id": ZONE}}
        )

    async def cloudfront(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        if "cloudfront" in self.failing:
            return await self.failing["cloudfront"](request)
        signed = request.headers.get("Authorization", "")
        if not signed.startswith("AWS4-HMAC-SHA256 Credential=key/"):
            return _cloudfront_error(403, "InvalidClientTokenId", "The security token is invalid.")
        body = await request.text()
        items = _ITEM.findall(body)
        if (
            f"<Quantity>{len(items)}</Quantity>" not in body
            or "<CallerReference>" not in body
            or not all(item.startswith("#") for item in items)
        ):
            return _cloudfront_error(400, "InvalidArgument", "The argument is invalid.")
        self.purged.append(Purged("cloudfront", tuple(item[1:] for item in items)))
        return _xml(
            201,
            "<Invalidation><Id>I2J0I21PCUYOIK</Id><Status>InProgress</Status>"
            "<CreateTime>2026-01-02T03:04:05.678Z</CreateTime><InvalidationBatch><Paths>"
            f"<Quantity>{len(items)}</Quantity></Paths><CallerReference>x</CallerReference>"
            "</InvalidationBatch></Invalidation>",
        )


def too_many_invalidations(_request: web.Request) -> web.Response:
    """CloudFront, when three thousand are under way."""
    return _cloudfront_error(
        400, "TooManyInvalidationsInProgress", "Processing your request will exceed the limit."
    )


def _cloudflare(status: int, code: int, message: str) -> web.Response:
    errors = [{"code": code, "message": message}]
    document = {"success": False, "errors": errors, "messages": [], "result": None}
    return web.json_response(document, status=status)


def _cloudfront_error(status: int, code: str, message: str) -> web.Response:
    return _xml(
        status,
        '<ErrorResponse xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Error>'
        f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>410c2a4b</RequestId></ErrorResponse>",
    )


def _xml(status: int, document: str) -> web.Response:
    return web.Response(
        status=status, text=f'<?xml version="1.0"?>\n{document}', content_type="text/xml"
    )


@asynccontextmanager
async def vendors_answering() -> AsyncIterator[Vendors]:
    vendors = Vendors()
    app = web.Application()
    app.router.add_post("/service/{service}/purge", vendors.fastly)
    app.router.add_post("/client/v4/zones/{zone}/purge_cache", vendors.cloudflare)
    app.router.add_post(f"/2020-05-31/distribution/{DISTRIBUTION}/invalidation", vendors.cloudfront)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        vendors.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield vendors
    finally:
        await runner.cleanup()


def purge_settings(vendors: Vendors, *cdns: str) -> dict[str, object]:
    """Settings that name these CDNs at the vendors' addresses."""
    named: dict[str, dict[str, object]] = {
        "fastly": {
            "fastly_service_id": SERVICE,
            "fastly_token": TOKEN,
            "fastly_url": vendors.url,
        },
        "cloudflare": {
            "cloudflare_zone_id": ZONE,
            "cloudflare_token": TOKEN,
            "cloudflare_url": f"{vendors.url}/client/v4",
        },
        "cloudfront": {
            "cloudfront_distribution_id": DISTRIBUTION,
            "cloudfront_access_key_id": "key",
            "cloudfront_secret_access_key": "secret",
            "cloudfront_endpoint_url": vendors.url,
        },
    }
    settings: dict[str, object] = {}
    for cdn in cdns:
        settings |= named[cdn]
    return settings
