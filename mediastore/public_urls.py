"""How the service is seen from outside: every URL that an answer names, and who the client is.

URLs are paths, unless a setting asks for absolute ones. What proxies say of scheme, host, prefix
and client is believed only from addresses in `http.trusted_proxies`, and only in the family of
headers that `http.proxy_headers` names: a proxy that writes one of them passes the other on as the
client made it up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web

from mediastore.forwarded import (
    Address,
    Hop,
    last_element,
    parse_host,
    parse_node,
    parse_prefix,
    parse_scheme,
    read_forwarded,
    read_x_forwarded_for,
)
from mediastore.settings import HttpSettings


@dataclass(frozen=True, slots=True)
class Outside:
    """A request as its client sent it. `host` is None when nothing valid names it."""

    client: str | None
    scheme: str
    host: str | None
    prefix: str


class PublicUrls:
    """Made once from the settings."""

    def __init__(self, http: HttpSettings) -> None:
        self._fixed = None if http.public_url is None else http.public_url.rstrip("/")
        self._base_path = http.base_path
        self._absolute = http.absolute_urls
        self._trusted = http.trusted_proxies
        self._reads_forwarded = http.proxy_headers == "forwarded"

    def base(self, request: web.BaseRequest) -> str:
        """What goes in front of a path of ours in an answer; no slash at its end."""
        if self._fixed is not None:
            return self._fixed
        if not self._absolute and not self._trusted:
            return self._base_path
        seen = self.seen(request)
        path = self._base_path or seen.prefix
        if not self._absolute or seen.host is None:
            return path
        return f"{seen.scheme}://{seen.host}{path}"

    def client(self, request: web.BaseRequest) -> str | None:
        """The client's address, for the log and for apps that are asked."""
        return self.seen(request).client if self._trusted else request.remote

    def seen(self, request: web.BaseRequest) -> Outside:
        """The request as its client sent it, as far as trusted proxies tell."""
        direct = Outside(
            request.remote, request.scheme, parse_host(request.headers.get("Host", "")), ""
        )
        if not self._trusts(_peer(request)):
            return direct
        if self._reads_forwarded:
            return self._by_hops(direct, request)
        return self._by_x_forwarded(direct, request)

    def _by_hops(self, direct: Outside, request: web.BaseRequest) -> Outside:
        client, scheme, host = direct.client, direct.scheme, direct.host
        for hop in self._believed(read_forwarded(request.headers.getall("Forwarded", []))):
            client = client if hop.client is None else str(hop.client)
            scheme, host = hop.scheme or scheme, hop.host or host
        return Outside(client, scheme, host, "")

    def _by_x_forwarded(self, direct: Outside, request: web.BaseRequest) -> Outside:
        def said(name: str) -> str:
            return last_element(request.headers.getall(name, []))

        client = direct.client
        addresses = read_x_forwarded_for(request.headers.getall("X-Forwarded-For", []))
        for hop in self._believed(Hop(address, None, None) for address in addresses):
            client = str(hop.client)
        return Outside(
            client,
            parse_scheme(said("X-Forwarded-Proto")) or direct.scheme,
            parse_host(said("X-Forwarded-Host")) or direct.host,
            parse_prefix(said("X-Forwarded-Prefix").rstrip("/")) or "",
        )

    def _believed(self, hops: Iterator[Hop]) -> Iterator[Hop]:
        """From the nearest proxy on, up to the first one that is not ours: that is the client."""
        for hop in hops:
            yield hop
            if not self._trusts(hop.client):
                return

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


PUBLIC_URLS = web.AppKey("public_urls", PublicUrls)


def public_base(request: web.Request) -> str:
    """What goes in front of a path of ours in the answer to `request`."""
    return request.app[PUBLIC_URLS].base(request)


def client_address(request: web.Request) -> str | None:
    """Where the client of `request` is, as far as trusted proxies tell."""
    return request.app[PUBLIC_URLS].client(request)


def _peer(request: web.BaseRequest) -> Address | None:
    remote = request.remote or ""
    return parse_node(f"[{remote}]" if ":" in remote else remote)
