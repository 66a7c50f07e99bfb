"""What may be fetched: URLs, hosts, and above all addresses."""

import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.request_errors import SourceRefused
from mediastore.settings import PullSettings
from mediastore.uploads.pull_addresses import PublicSockets, checked_url, is_public

SETTINGS = PullSettings(hosts=("example.com", "*.cdn.example.net", "93.184.216.34", "[2606::1]"))
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:93.184.216.34",
    "::ffff:0:93.184.216.34",
    "64:ff9b::7f00:1",
    "64:ff9b::5db8:d822",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:5db8:d822::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "localhost",
    "",
    "127.1",
    "2130706433",
    "0x7f000001",
    "010.0.0.1",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_is_taken_that_python_knows_is_special(address: IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        assert not is_public(str(address))


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_is_taken_that_python_knows_is_special(address: IPv6Address) -> None:
    inner = address.ipv4_mapped or address.sixtofour or address.teredo
    if inner is not None or not address.is_global or address.is_multicast or address.is_reserved:
        assert not is_public(str(address))


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "64:ff9b::{}", "::{}", "2002:{h}::1"]))
def test_an_ipv4_address_inside_an_ipv6_one_is_never_taken(address: IPv4Address, form: str) -> None:
    number = int(address)
    inside = form.format(address, h=f"{number >> 16:x}:{number & 0xFFFF:x}")
    assert not is_public(inside)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("https://example.com/a?b=c", "https://example.com/a?b=c"),
        ("https://EXAMPLE.com:443/a#x", "https://example.com/a"),
        ("https://example.com./", "https://example.com./"),
        ("https://x.cdn.example.net/", "https://x.cdn.example.net/"),
        ("https://a.b.cdn.example.net/%2e%2e/", "https://a.b.cdn.example.net/"),
        ("https://93.184.216.34/", "https://93.184.216.34/"),
    ],
)
def test_a_url_that_may_be_fetched(text: str, asked: str) -> None:
    assert str(checked_url(text, SETTINGS)) == asked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "//example.com/",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https:///path",
        "https://example.com:8443/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://user@example.com/",
        "https://:secret@example.com/",
        "https://example.com@evil.test/",
        "https://example.com\\@evil.test/",
        "https://evil.test/#@example.com/",
        "https://evil.test?.example.com/",
        "https://cdn.example.net/",
        "https://evilcdn.example.net/",
        "https://x.cdn.example.net.evil.test/",
        "https://x.cdn.example.net%00.evil.test/",
        "https://.cdn.example.net/",
        "https://www.example.com/",
        "https://example.com\n.evil.test/",
        "https://example.com/\r\nX: y",
        "https://ex\u0430mple.com/",
        "https://example\u3002com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
        "https://localhost/",
        "https://" + "a" * 64 + ".cdn.example.net/",
        "https://" + "a." * 130 + "cdn.example.net/",
        "https://example.com/" + "a" * 5000,
    ],
)
def test_a_url_that_is_refused(text: str) -> None:
    with pytest.raises(SourceRefused):
        checked_url(text, SETTINGS)


def test_nothing_is_fetched_until_hosts_are_listed() -> None:
    with pytest.raises(SourceRefused):
        checked_url("https://example.com/", PullSettings())


def test_http_is_taken_only_when_it_is_allowed() -> None:
    settings = PullSettings(hosts=("example.com",), allow_http=True, ports=(80, 443))
    assert str(checked_url("http://example.com/", settings)) == "http://example.com/"


@given(st.text())
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for written in (text, f"https://{text}", f"https://example.com{text}"):
        with suppress(SourceRefused):
            assert checked_url(written, SETTINGS).scheme == "https"


def test_no_socket_is_made_for_an_address_that_is_not_public() -> None:
    make = PublicSockets(PullSettings())
    kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    for address in ("127.0.0.1", "169.254.169.254"):
        with pytest.raises(OSError, match="public"):
            make((*kind, (address, 443)))
    assert make.refused
    make((*kind, ("1.1.1.1", 443))).close()
    PublicSockets(PullSettings(allow_private_addresses=True))((*kind, ("127.0.0.1", 1))).close()
