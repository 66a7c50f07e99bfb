"""May this request read this media URL, and who else may keep the answer (INV-10).

Three things allow it, beside a live object of the tenant: that the tenant is public, a signed link,
or the tenant's key. Parameters that anybody could make up are never free: without a signature they
would let a stranger choose what this service computes. What is not allowed gets the 404 of what is
not there; a wrong key is told the same whatever it asks for.
"""

from dataclasses import dataclass
from functools import lru_cache

from aiohttp import hdrs, web

from mediastore.access.authenticator import Authenticator
from mediastore.access.signed_links import SignedLinks
from mediastore.errors import NotFound


@dataclass(frozen=True, slots=True)
class Grant:
    """What allows a read, as far as caches need to know."""

    shared: bool
    """Caches that others share may keep the answer."""
    lasting: bool = True
    """The URL names a blob: what is behind it never changes."""
    until: int | None = None
    """Unix seconds after which nobody is to be given it any more; of a signed link."""
    seconds_max: int | None = None
    """Caches keep it no longer than this: something else may be behind the URL then."""


OPEN = Grant(shared=True)
BY_KEY = Grant(shared=False)
BY_OBJECT = Grant(shared=False, lasting=False)


@lru_cache(maxsize=1024)  # expiry is rounded, so that there are few
def by_link(until: int) -> Grant:
    """What a signed link allows that is good until then, Unix seconds."""
    return Grant(shared=True, until=until)


class Granting:
    """Answers for `/media/{tenant}/…`. Made once."""

    def __init__(
        self, links: SignedLinks, authenticator: Authenticator, *, unsigned_parameters: bool
    ) -> None:
        self.links = links
        self._authenticator = authenticator
        self._unsigned_parameters = unsigned_parameters

    async def grant(
        self, request: web.Request, tenant: str, *, public: bool, free: bool = False
    ) -> Grant:
        """What allows it, asked at once, then by key. To be asked also for what is not there.

        Raises as `by_key`.
        """
        found = self.at_once(request, tenant, public=public, free=free)
        return await self.by_key(request, tenant) if found is None else found

    def at_once(
        self, request: web.Request, tenant: str, *, public: bool, free: bool = False
    ) -> Grant | None:
        """What allows it without a key; nothing is waited for. `public` and `free` as in
        `is_open`.
        """
        if self.is_open(public=public, free=free):
            return OPEN
        url = request.rel_url
        query = url.raw_query_string
        return self.linked(tenant, url.raw_path, query) if query else None

    def is_open(self, *, public: bool, free: bool) -> bool:
        """Without link or key. `public`: the tenant is; `free`: the URL has parameters that nobody
        but its maker has chosen, such as a transform that is no named preset.
        """
        return public and (not free or self._unsigned_parameters)

    def linked(self, tenant: str, raw_path: str, query: str) -> Grant | None:
        """What the link of this path and query allows; both are percent-encoded, as they came."""
        until = self.links.good_until(tenant, raw_path, query)
        return None if until is None else by_link(until)

    async def by_key(self, request: web.Request, tenant: str) -> Grant:
        """What the request's key allows.

        Raises NotFound without a key or for another tenant's, Unauthorized for a wrong one.
        """
        if hdrs.AUTHORIZATION not in request.headers:
            raise NotFound
        if (await self._authenticator.tenant(request)).id != tenant:
            raise NotFound
        return BY_KEY
