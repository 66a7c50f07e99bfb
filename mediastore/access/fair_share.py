"""No tenant takes all of the process's places: of the requests that may be in progress at once, one
tenant's requests get a share, however many it sends. The others are not told of it at all.
"""

import math

from aiohttp import web

from mediastore.errors import TooManyRequests

_TENANT = web.RequestKey("fair_share_tenant", str)


class FairShare:
    """Counts the requests of each tenant that are being answered."""

    def __init__(self, requests_max: int, share: float) -> None:
        self.limit = max(1, math.ceil(requests_max * share))
        self._in_progress: dict[str, int] = {}

    def enter(self, request: web.Request, tenant: str) -> None:
        """A request turns out to be this tenant's. Raises TooManyRequests."""
        if _TENANT in request:
            return
        in_progress = self._in_progress.get(tenant, 0)
        if in_progress >= self.limit:
            raise TooManyRequests
        self._in_progress[tenant] = in_progress + 1
        request[_TENANT] = tenant

    def leave(self, request: web.Request) -> None:
        """A request has been answered."""
        tenant = request.get(_TENANT)
        if tenant is None:
            return
        left = self._in_progress[tenant] - 1
        if left:
            self._in_progress[tenant] = left
        else:
            del self._in_progress[tenant]


FAIR_SHARE = web.AppKey("fair_share", FairShare)
