"""What proxies say of the connections they took: `Forwarded` (RFC 7239) and `X-Forwarded-*`.

Each proxy appends, so both are read from their ends, element by element, and only while the one who
wrote an element is trusted. What a client has put in front of that is never looked at, valid or
not. An element that does not follow the grammar to the letter ends the reading.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address
ELEMENTS_MAX = 32  # more proxies than any path has
CHARACTERS_MAX = 4096

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"'
_PAIR = rf"{_WORD}=(?:{_WORD}|{_QUOTED})"
_ELEMENT = re.compile(rf"(?:{_PAIR})?(?:[ \t]*;[ \t]*(?:{_PAIR})?)*")
_PAIR_PARTS = re.compile(rf"({_WORD})=(?:({_WORD})|({_QUOTED}))")
_ESCAPED = re.compile(r"\\(.)")
_NODE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<four>[0-9.]{7,15}))(?::[0-9]{1,5})?")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
SCHEMES = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Hop:
    """What a proxy says of the connection that it took. None: it does not say, or not validly."""

    client: Address | None
    scheme: str | None
    host: str | None


def read_forwarded(fields: Sequence[str]) -> Iterator[Hop]:
    """The elements of `Forwarded` header fields, the last one first."""
    for element in _from_the_end(fields, lambda text: _ELEMENT.fullmatch(text) is not None):
        pairs: dict[str, str] = {}
        for name, token, quoted in _PAIR_PARTS.findall(element):
            if name.lower() in pairs:
                return  # RFC 7239, section 4: at most once in an element
            pairs[name.lower()] = token or _ESCAPED.sub(r"\1", quoted[1:-1])
        yield Hop(
            parse_node(pairs.get("for", "")),
            parse_scheme(pairs.get("proto", "")),
            parse_host(pairs.get("host", "")),
        )


def read_x_forwarded_for(fields: Sequence[str]) -> Iterator[Address]:
    """The addresses of `X-Forwarded-For` header fields, the last one first."""
    for element in _from_the_end(fields, lambda text: "," not in text):
        if not element:
            continue
        address = parse_node(element) or _parse_address(element)
        if address is None:
            return
        yield address


def parse_node(text: str) -> Address | None:
    """RFC 7239, section 6: an address with or without a port; None for `unknown` and names."""
    found = _NODE.fullmatch(text)
    return None if found is None else _parse_address(found["six"] or found["four"])


def parse_scheme(text: str) -> str | None:
    return text.lower() if text.lower() in SCHEMES else None


def parse_host(text: str) -> str | None:
    """A host and maybe a port, as in a Host header."""
    return text if _HOST.fullmatch(text) else None


def parse_prefix(text: str) -> str | None:
    """A path without a slash at its end; dots that would climb are refused."""
    climbs = any(part in (".", "..") for part in text.split("/"))
    return text if _PREFIX.fullmatch(text) and not climbs else None


def last_element(fields: Sequence[str]) -> str:
    """What the nearest proxy wrote into a list of plain values; "" if there is none."""
    return fields[-1].rpartition(",")[2].strip(" \t") if fields else ""


def _parse_address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _from_the_end(fields: Sequence[str], is_element: Callable[[str], bool]) -> Iterator[str]:
    """Elements of a comma-separated list, the last first, each the shortest end that is one."""
    rest = ",".join(fields)[-CHARACTERS_MAX:]
    whole = len(rest) < CHARACTERS_MAX
    for _ in range(ELEMENTS_MAX):
        start = len(rest)
        while True:
            start = rest.rfind(",", 0, start)
            element = rest[start + 1 :].strip(" \t")
            if is_element(element):
                break
            if start < 0:
                return
        if start < 0 and not whole:
            return  # it may have been longer
        yield element
        if start < 0:
            return
        rest = rest[:start]
