"""Hits of small content under a blob's URL, answered before the application looks at the request.

To find a route, a handler and its middlewares costs more than everything else that such an answer
needs. So what can be answered at once is answered here, and anything else is left to the
application, which would have given the same answer: the allowance is believed already (INV-10), the
chunk is verified and in memory (INV-9), the tenant is public or the link's signature is good, and
nothing that the request carries changes what is sent. It is counted, timed and logged as any other.
"""

import re
from typing import Final

from aiohttp import hdrs, web

from mediastore.delivery.content import SMALL_BODY_BYTES, WANT_REPR_DIGEST, Delivery
from mediastore.delivery.granting import OPEN, Granting
from mediastore.telemetry.requests import CLIENT_CLOSED_STATUS, RequestObserver

# What needs no decoding. As in the route, a segment is anything without a slash.
_TARGET: Final = re.compile(
    r"(/media/([a-z0-9-]+)/([0-9a-f]{64})/([A-Za-z0-9._~-]+))(?:\?([!\"$-~]*))?", re.ASCII
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
        target = _TARGET.fullmatch(request.raw_path)
        if target is None:
            return None
        headers = request.headers
        for name in _DECIDING:
            if name in headers:
                return None
        path, tenant, blob, filename, query = target.groups()
        delivery = self._delivery
        readable = delivery.allowed.believed_blob(tenant, blob)
        if readable is None or not 0 < readable.size <= SMALL_BODY_BYTES:
            return None
        grant = OPEN if readable.public else self._granting.linked(tenant, path, query or "")
        if grant is None:
            return None
        data = delivery.parts.chunks.peek(readable.blob)
        if data is None:
            return None
        began = observer.begin(request)
        status = CLIENT_CLOSED_STATUS
        try:
            answer, lines = delivery.whole_from_memory(request, readable, filename, grant)
            delivery.metrics.bytes_sent.inc(len(data))
            try:
                if answer.write_whole(lines, data):
                    await answer.drained()
                response = answer.finish()
            except ConnectionError:
                response = answer.give_up()
            status = response.status
            return response
        finally:
            observer.end(request, began, self._route, status)
