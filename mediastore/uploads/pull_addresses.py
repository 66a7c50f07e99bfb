"""Which URLs may be fetched and which addresses may be connected to, when a client says what to
fetch.

Whoever may name a URL could otherwise reach what only this service can: its own ports, the private
network, the cloud's metadata. So hosts are listed by the operator, and an address is looked at when
the socket to it is made: what was checked is what is connected to, whatever a name resolves to the
next time.
"""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import AddrInfoType
from yarl import URL

from mediastore.request_errors import SourceRefused
from mediastore.settings import PullSettings

URL_LENGTH_MAX = 4096
NAME_LENGTH_MAX = 253
LABEL_LENGTH_MAX = 63
# IANA's special-purpose registries, and what clouds have put elsewhere. Listed here because
# `ipaddress.is_global` changes between Python versions.
_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT; one cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host agent
        "169.254.0.0/16",  # link-local; the usual metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Of IPv6 only global unicast is taken at all, so loopback, link-local, unique local, multicast,
# IPv4-mapped and NAT64 addresses are refused without being named.
_GLOBAL_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID, benchmarks: IPv4 inside, or nothing
        "2001:db8::/32",
        "2002::/16",  # 6to4: IPv4 inside
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


def is_public(address: str) -> bool:
    """May anybody on the internet connect to it? An address with a scope is a neighbour's."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _REFUSED_V4)
    return _is_public_v6(parsed)


def _is_public_v6(address: IPv6Address) -> bool:
    return (
        address.scope_id is None
        and address in _GLOBAL_V6
        and not any(address in network for network in _REFUSED_V6)
    )


def checked_url(text: str, settings: PullSettings) -> URL:
    """A URL that may be asked for. Raises SourceRefused."""
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise SourceRefused("the source is not a URL") from None
    if len(text) > URL_LENGTH_MAX or not text.isascii() or not text.isprintable():
        raise SourceRefused(f"a source is at most {URL_LENGTH_MAX} printable ASCII characters")
    if url.scheme not in (("https", "http") if settings.allow_http else ("https",)):
        raise SourceRefused("the source must be an https URL")
    if url.user is not None or url.password is not None:
        raise SourceRefused("a source with a user or password in its URL is not fetched")
    host = (url.raw_host or "").rstrip(".")
    labels = host.split(".")
    if len(host) > NAME_LENGTH_MAX or not all(0 < len(it) <= LABEL_LENGTH_MAX for it in labels):
        raise SourceRefused("the source's host is not a name")
    if not _is_listed(host, settings.hosts):
        raise SourceRefused("the source's host is not one that this service fetches from")
    if port not in settings.ports:
        raise SourceRefused("the source's port is not one that this service fetches from")
    return url.with_fragment(None)


def _is_listed(host: str, listed: tuple[str, ...]) -> bool:
    host = host.lower()
    for name in listed:
        known = name.lower().rstrip(".")
        if host == known or (known.startswith("*.") and host.endswith(known[1:])):
            return True
    return False


class PublicSockets:
    """Makes the sockets of one pull: none to an address that is not public."""

    def __init__(self, settings: PullSettings) -> None:
        self._allow_all = settings.allow_private_addresses
        self.refused = False

    def __call__(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = address
        if not (self._allow_all or is_public(str(where[0]))):
            self.refused = True
            raise OSError("not a public address")
        return socket.socket(family, kind, protocol)
