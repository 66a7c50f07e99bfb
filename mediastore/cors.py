"""CORS: what pages of other origins may do, and which headers they may send and read.

The lists below are the only ones; a test sends every kind of request and finds each header of the
answers in one of them. What is rendered for an origin is kept, so an answer costs a lookup; with
CORS off there is nothing to look up. Errors are marked like every other answer: a page that may
not read a 401 or a 503 cannot act on it.
"""

import re
from collections.abc import Sequence

from aiohttp import hdrs, web

from mediastore.settings import CorsSettings

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# What clients of our protocols send, beyond what browsers let every page send.
REQUEST_HEADERS = (
    "Authorization",
    "Content-Digest",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Range",
    "Repr-Digest",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "Want-Repr-Digest",
    "X-HTTP-Method-Override",
    "X-Request-Id",
    "X-Requested-With",
)
# What pages may read, beyond READABLE_ANYWAY.
EXPOSED_HEADERS = (
    "Accept-Patch",
    "Accept-Ranges",
    "Allow",
    "Content-Digest",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Location",
    "Content-Range",
    "Date",
    "ETag",
    "Location",
    "Repr-Digest",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Expires",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Metadata",
    "Upload-Offset",
    "WWW-Authenticate",
    "X-Request-Id",
)
READABLE_ANYWAY = frozenset(
    {"Cache-Control", "Content-Length", "Content-Type", "Expires", "Last-Modified"}
)
# Between the browser and us: no page needs to read them.
NOT_EXPOSED = frozenset(
    {
        "CDN-Cache-Control",
        "Cache-Status",
        "Cache-Tag",
        "Connection",
        "Content-Security-Policy",
        "Cross-Origin-Resource-Policy",
        "Server",
        "Server-Timing",
        "Surrogate-Key",
        "Timing-Allow-Origin",
        "Transfer-Encoding",
        "Vary",
        "X-Content-Type-Options",
        "xkey",
    }
)
ORIGINS_KEPT_MAX = 1024
_ORIGIN_LENGTH_MAX = 300
_VARY_OF_PREFLIGHTS = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
    "Access-Control-Request-Private-Network"
)
Fields = Sequence[tuple[str, str]]


class Cors:
    """Made once from settings that allow at least one origin."""

    def __init__(self, settings: CorsSettings) -> None:
        self._everybody = "*" in settings.allowed_origins
        self._exact = {origin for origin in settings.allowed_origins if "*" not in origin}
        self._wildcards = [_wildcard(o) for o in settings.allowed_origins if "://*." in o]
        self._credentials = settings.credentials
        self._private_network = settings.private_network
        self._max_age = str(settings.max_age_seconds)
        self._request_headers = ", ".join((*REQUEST_HEADERS, *settings.request_headers))
        self._kept: dict[str | None, tuple[Fields, bytes]] = {}

    def fields(self, origin: str | None) -> Fields:
        """What any answer to a request from `origin` carries, but for Vary."""
        return self._for(origin)[0]

    def lines(self, origin: str | None) -> bytes:
        """`fields`, and Vary, as rendered header lines."""
        return self._for(origin)[1]

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """An on_response_prepare signal: the answer may be read by pages of allowed origins."""
        headers = response.headers
        for name, value in self.fields(request.headers.get(hdrs.ORIGIN)):
            headers[name] = value
        if not self._everybody and hdrs.ORIGIN not in headers.get(hdrs.VARY, ""):
            earlier = headers.get(hdrs.VARY)
            headers[hdrs.VARY] = "Origin" if earlier is None else f"{earlier}, Origin"

    def preflight(self, request: web.Request) -> web.Response:
        """The answer to a preflight; no key is needed."""
        headers = {"Vary": _VARY_OF_PREFLIGHTS, "Cache-Control": "no-store"}
        if self._allows(request.headers.get(hdrs.ORIGIN)):
            headers |= {
                "Access-Control-Allow-Methods": METHODS,
                "Access-Control-Allow-Headers": self._request_headers,
                "Access-Control-Max-Age": self._max_age,
            }
            asked = request.headers.get("Access-Control-Request-Private-Network")
            if self._private_network and asked == "true":
                headers["Access-Control-Allow-Private-Network"] = "true"
        return web.Response(status=204, headers=headers)

    def _for(self, origin: str | None) -> tuple[Fields, bytes]:
        kept = self._kept.get(origin)
        if kept is None:
            kept = self._rendered(origin)
            if len(self._kept) < ORIGINS_KEPT_MAX and len(origin or "") <= _ORIGIN_LENGTH_MAX:
                self._kept[origin] = kept
        return kept

    def _rendered(self, origin: str | None) -> tuple[Fields, bytes]:
        fields: list[tuple[str, str]] = []
        if self._allows(origin):
            fields.append(("Access-Control-Allow-Origin", "*" if self._everybody else str(origin)))
            if self._credentials:
                fields.append(("Access-Control-Allow-Credentials", "true"))
            fields.append(("Timing-Allow-Origin", "*" if self._everybody else str(origin)))
            fields.append(("Access-Control-Expose-Headers", ", ".join(EXPOSED_HEADERS)))
        vary = [] if self._everybody else [("Vary", "Origin")]
        lines = "".join(f"{name}: {value}\r\n" for name, value in (*fields, *vary))
        return fields, lines.encode("ascii")

    def _allows(self, origin: str | None) -> bool:
        """Everybody's answers do not depend on the origin, so that caches keep one of them."""
        if self._everybody:
            return True
        if origin is None or len(origin) > _ORIGIN_LENGTH_MAX:
            return False
        return origin in self._exact or any(w.fullmatch(origin) for w in self._wildcards)


def open_cors(settings: CorsSettings) -> Cors | None:
    """None when no origin is allowed: then nothing is added to any answer."""
    return Cors(settings) if settings.allowed_origins else None


def is_preflight(request: web.BaseRequest) -> bool:
    """Does a browser ask whether it may send a request (Fetch, CORS-preflight fetch)?"""
    headers = request.headers
    return hdrs.ORIGIN in headers and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers


def _wildcard(origin: str) -> re.Pattern[str]:
    scheme, _, host = origin.partition("://*.")
    return re.compile(rf"{re.escape(scheme)}://(?:[a-z0-9_-]+\.)+{re.escape(host)}")
