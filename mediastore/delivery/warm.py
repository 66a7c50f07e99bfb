"""Hits of small content under a blob's URL, or that of what is made of it, answered before the
application looks at the request.

To find a route, a handler and its middlewares costs more than everything else that such an answer
needs. So what can be answered at once is answered here, and anything else is left to the
application, which would have given the same answer: the allowance is believed already (INV-10), the
chunk is verified and in memory (INV-9), the tenant is public or the link's signature is good, and
nothing that the request carries changes what is sent. It is counted, timed and logged as any other.
"""

import re
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from mediastore.delivery.content import SMALL_BODY_BYTES, WANT_REPR_DIGEST, Delivery
from mediastore.delivery.granting import OPEN, Grant, Granting
from mediastore.delivery.headers import HeaderFields
from mediastore.delivery.readable import Readable
from mediastore.telemetry.requests import CLIENT_CLOSED_STATUS, RequestObserver

# What needs no decoding. As in the route, a segment is anything without a slash.
_TARGET: Final = re.compile(
    r"(/media/([a-z0-9-]+)/([0-9a-f]{64})/([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)?))"
    r"(?:\?([!\"$-~]*))?",
    re.ASCII,
)
# With any of these, the answer may be another one.
_DECIDING: Final = (
    hdrs.RANGE,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_MATCH,
    hdrs.IF_UNMODIFIED_SINCE,
    hdrs.EXPECT,
    WANT_REPR_DIGEST,
)


class _Hit(NamedTuple):
    """All that an answer needs; `data` is verified."""

    readable: Readable
    filename: str
    also: HeaderFields
    grant: Grant
    data: bytes
    route: str


class WarmReads:
    """Made once; `route` is what its answers are counted under."""

    def __init__(
        self, delivery: Delivery, granting: Granting, observer: RequestObserver, route: str
    ) -> None:
        self._delivery = delivery
        self._granting = granting
        self._observer = observer
        self._route = route

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        """The answer to a request that the application has not seen; None to leave it to that."""
        observer = self._observer
        if request.method != hdrs.METH_GET or observer.in_progress >= observer.in_progress_max:
            return None
        hit = self._hit(request)
        if hit is None:
            return None
        began = observer.begin(request)
        status = CLIENT_CLOSED_STATUS
        try:
            response = await self._send(request, hit)
            status = response.status
            return response
        finally:
            observer.end(request, began, hit.route, status)

    def _hit(self, request: web.Request) -> _Hit | None:
        target = _TARGET.fullmatch(request.raw_path)
        if target is None:
            return None
        headers = request.headers
        for name in _DECIDING:
            if name in headers:
                return None
        path, tenant, blob, name, deeper, query = target.groups()
        source = self._delivery.allowed.believed_blob(tenant, blob)
        if source is None:
            return None
        derived = None
        if deeper is not None:
            derived = source.derived(name, headers)
            if derived is None:
                return None
        readable = source if derived is None else derived.readable
        if not 0 < readable.size <= SMALL_BODY_BYTES:
            return None
        grant: Grant | None = OPEN
        free = derived is not None and derived.free
        if not self._granting.is_open(public=source.public, free=free):
            grant = self._granting.linked(tenant, path, query or "")
        data = None if grant is None else self._delivery.parts.chunks.peek(readable.blob)
        if grant is None or data is None:
            return None
        if derived is None:
            return _Hit(readable, name, (), grant, data, self._route)
        derived.count()
        granted = derived.granted(grant)
        return _Hit(readable, derived.filename, derived.also, granted, data, derived.route)

    async def _send(self, request: web.Request, hit: _Hit) -> web.StreamResponse:
        delivery = self._delivery
        answer, lines = delivery.whole_from_memory(
            request, hit.readable, hit.filename, hit.grant, hit.also
        )
        delivery.metrics.bytes_sent.inc(len(hit.data))
        try:
            if answer.write_whole(lines, hit.data):
                await answer.drained()
            return answer.finish()
        except ConnectionError:
            return answer.give_up()
