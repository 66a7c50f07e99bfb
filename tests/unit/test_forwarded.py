"""Forwarded (RFC 7239) and X-Forwarded-For: what is valid is understood, the rest ends the reading,
and nothing that a client has put in front changes what a proxy said behind it.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.forwarded import (
    CHARACTERS_MAX,
    ELEMENTS_MAX,
    Hop,
    last_element,
    parse_host,
    parse_node,
    parse_prefix,
    read_forwarded,
    read_x_forwarded_for,
)


def hops(*fields: str) -> list[Hop]:
    return list(read_forwarded(fields))


def addresses(*fields: str) -> list[str]:
    return [str(address) for address in read_x_forwarded_for(fields)]


def test_the_examples_of_the_rfc() -> None:
    assert hops('for="_gazonk"') == [Hop(None, None, None)]
    assert hops('For="[2001:db8:cafe::17]:4711"') == [
        Hop(IPv6Address("2001:db8:cafe::17"), None, None)
    ]
    assert hops("for=192.0.2.60;proto=http;by=203.0.113.43") == [
        Hop(IPv4Address("192.0.2.60"), "http", None)
    ]
    assert hops("for=192.0.2.43, for=198.51.100.17") == [
        Hop(IPv4Address("198.51.100.17"), None, None),
        Hop(IPv4Address("192.0.2.43"), None, None),
    ]
    assert hops('for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown')[1] == Hop(
        IPv6Address("2001:db8:cafe::17"), None, None
    )


def test_several_fields_are_one_list() -> None:
    assert hops("for=192.0.2.1", "for=192.0.2.2") == hops("for=192.0.2.1, for=192.0.2.2")


def test_names_are_in_any_case_and_values_may_be_escaped() -> None:
    assert hops('FOR=192.0.2.1;Proto=HTTPS;hOst="a\\.example:8\\0"') == [
        Hop(IPv4Address("192.0.2.1"), "https", "a.example:80")
    ]


@pytest.mark.parametrize(
    "element",
    [
        "for",
        "for=",
        "for=[::1]",  # brackets and colons are no token: it has to be quoted
        "for=192.0.2.1:80",
        'for="192.0.2.1',
        'for=192.0.2.1"',
        "for =192.0.2.1",
        "for=192.0.2.1 proto=http",
        "for=192.0.2.1;for=192.0.2.2",
        "for=192.0.2.1;FOR=192.0.2.2",
        'for="a\x01"',
    ],
)
def test_what_is_not_valid_ends_the_reading(element: str) -> None:
    before = "for=203.0.113.1"
    assert hops(f"{before}, {element}, for=192.0.2.9") == [
        Hop(IPv4Address("192.0.2.9"), None, None)
    ]
    assert hops(element) == []


@pytest.mark.parametrize(
    "value", ["", "unknown", "_hidden", "256.1.1.1", "1.2.3", "[::1", "::1", "1.2.3.4:123456", "x"]
)
def test_what_is_no_address(value: str) -> None:
    assert parse_node(value) is None


def test_an_address_of_version_4_written_in_version_6_is_version_4() -> None:
    assert parse_node("[::ffff:10.0.0.1]") == IPv4Address("10.0.0.1")


def test_x_forwarded_for_from_its_end() -> None:
    assert addresses("192.0.2.1, 2001:db8::1,198.51.100.7:5123 , [2001:db8::2]:1") == [
        "2001:db8::2",
        "198.51.100.7",
        "2001:db8::1",
        "192.0.2.1",
    ]
    assert addresses("192.0.2.1, unknown, 192.0.2.3") == ["192.0.2.3"]
    assert addresses("192.0.2.1, <script>") == []
    assert addresses() == []


def test_a_long_field_is_read_from_its_end_only() -> None:
    assert addresses("192.0.2.1, " * 20_000 + "192.0.2.2")[0] == "192.0.2.2"
    assert len(addresses("192.0.2.1, " * 20_000)) <= ELEMENTS_MAX
    assert hops("x" * CHARACTERS_MAX + "=y") == []
    assert hops("," * 30_000 + '"') == []


def test_hosts_and_prefixes() -> None:
    assert parse_host("media.example.com:8443") == "media.example.com:8443"
    assert parse_host("[::1]:80") == "[::1]:80"
    for wrong in ("", "a b", "a/b", "a@b", "a:b", "user:pass@a", "a\r\nb", "a?b", "é"):
        assert parse_host(wrong) is None
    assert parse_prefix("/files/v2") == "/files/v2"
    for wrong in ("", "/", "files", "//evil.example", "/a/../b", "/a//b", "/a?b", "/a/"):
        assert parse_prefix(wrong) is None


def test_the_last_element_of_plain_values() -> None:
    assert last_element(["https, http"]) == "http"
    assert last_element(["https", "http "]) == "http"
    assert last_element([]) == ""


ADDRESSES = st.ip_addresses()
TEXTS = st.text("".join(map(chr, range(0x20, 0x7F))), max_size=20)
HOSTS = st.sampled_from(["a.example", "media.example.com:8443", "x_y", "[2001:db8::1]:80", "h.:1"])


def quoted(value: str) -> str:
    return '"' + "".join("\\" + c if c in '"\\' else c for c in value) + '"'


@st.composite
def elements(draw: st.DrawFn) -> tuple[str, Hop]:
    """A valid element in one of its many spellings, and what it says."""
    address = draw(st.none() | ADDRESSES)
    scheme = draw(st.none() | st.sampled_from(["http", "https"]))
    host = draw(st.none() | HOSTS)
    pairs = [(name, draw(TEXTS)) for name in draw(st.sets(st.sampled_from(["by", "x", "secret"])))]
    if address is not None:
        node = f"[{address}]" if address.version == 6 else str(address)
        pairs.append(("for", node + draw(st.sampled_from(["", ":80"]))))
    if scheme is not None:
        pairs.append(("proto", draw(st.sampled_from([scheme, scheme.upper()]))))
    if host is not None:
        pairs.append(("host", host))
    rendered = []
    for name, value in draw(st.permutations(pairs)):
        plain = value and all(c in "abcdefghijklmnopqrstuvwxyz0123456789.-_" for c in value.lower())
        text = value if plain and draw(st.booleans()) else quoted(value)
        rendered.append(f"{draw(st.sampled_from([name, name.title(), name.upper()]))}={text}")
    mapped = getattr(address, "ipv4_mapped", None)
    said = Hop(address if mapped is None else mapped, scheme, host)
    return draw(st.sampled_from([";", "; "])).join(rendered), said


@given(st.lists(elements(), max_size=5), st.sampled_from([",", ", ", " ,\t"]))
def test_whatever_is_valid_is_understood(given_: list[tuple[str, Hop]], comma: str) -> None:
    read = hops(comma.join(text for text, _ in given_))
    said = [hop for _, hop in reversed(given_)] or [Hop(None, None, None)]
    # A comma inside of quotes may end an element early, never make one up: see the next test.
    if not any('"' in text and "," in text for text, _ in given_):
        assert read == said


@given(st.text(max_size=200), st.lists(elements(), min_size=1, max_size=3))
def test_nothing_in_front_changes_what_is_said_behind_it(
    front: str, said: list[tuple[str, Hop]]
) -> None:
    behind = ", ".join(text for text, _ in said)
    alone = hops(behind)
    assert hops(f"{front}, {behind}")[: len(alone)] == alone


@given(st.lists(st.text(max_size=100), max_size=3))
def test_no_text_makes_it_fail(fields: list[str]) -> None:
    assert len(hops(*fields)) <= ELEMENTS_MAX
    assert all(ip_address(address) for address in addresses(*fields))


@given(st.lists(ADDRESSES.map(str), min_size=1, max_size=5), st.text(max_size=50))
def test_addresses_behind_a_front(given_: list[str], front: str) -> None:
    behind = ", ".join(given_)
    read = addresses(f"{front}, {behind}")
    expected = [str(parse_node(f"[{a}]" if ":" in a else a)) for a in reversed(given_)]
    assert read[: len(given_)] == expected
    assert list(takewhile(lambda a: a in expected, read))[: len(given_)] == expected
