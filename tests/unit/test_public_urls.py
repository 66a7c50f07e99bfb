"""How the service is seen from outside: believed from trusted proxies, in one family of headers."""

from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from mediastore.public_urls import Outside, PublicUrls
from mediastore.settings import load_settings

PROXY, INNER, STRANGER = "10.0.0.1", "10.0.0.2", "203.0.113.7"
TRUSTED = {"trusted_proxies": ["10.0.0.0/8"]}
LIED = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=192.0.2.1;proto=https;host=evil.example",
}


def request(peer: str, headers: dict[str, str]) -> web.Request:
    transport = Mock()
    transport.get_extra_info.side_effect = lambda name, default=None: (
        (peer, 5) if name == "peername" else default
    )
    return make_mocked_request(
        "POST", "/v1/uploads", {"Host": "inside:8080", **headers}, transport=transport
    )


def urls(**http: Any) -> PublicUrls:
    return PublicUrls(load_settings(http=http).http)


def test_without_settings_urls_are_paths_and_headers_say_nothing() -> None:
    made = urls()
    assert made.base(request(PROXY, LIED)) == ""
    assert made.client(request(PROXY, LIED)) == PROXY


def test_a_fixed_url_depends_on_no_request() -> None:
    made = urls(public_url="https://media.example.com/files/", absolute_urls=True, **TRUSTED)
    assert made.base(request(PROXY, LIED)) == "https://media.example.com/files"


def test_the_base_path_is_put_in_front() -> None:
    assert urls(base_path="/files").base(request(PROXY, {})) == "/files"
    absolute = urls(base_path="/files", absolute_urls=True)
    assert absolute.base(request(PROXY, {})) == "http://inside:8080/files"


@pytest.mark.parametrize("family", ["x-forwarded", "forwarded"])
def test_a_stranger_is_not_believed(family: str) -> None:
    made = urls(absolute_urls=True, proxy_headers=family, **TRUSTED)
    assert made.base(request(STRANGER, LIED)) == "http://inside:8080"
    assert made.client(request(STRANGER, LIED)) == STRANGER


def test_a_proxy_is_believed_in_its_own_family_only() -> None:
    """It passes on what a client has put into the other."""
    theirs = {name: LIED[name] for name in LIED if name != "Forwarded"}
    ours = {"Forwarded": "for=198.51.100.2;proto=https;host=media.example"}
    made = urls(absolute_urls=True, proxy_headers="forwarded", **TRUSTED)
    assert made.seen(request(PROXY, theirs | ours)) == Outside(
        "198.51.100.2", "https", "media.example", ""
    )
    made = urls(absolute_urls=True, **TRUSTED)
    seen = made.seen(request(PROXY, {"Forwarded": LIED["Forwarded"]}))
    assert seen == Outside(PROXY, "http", "inside:8080", "")


def test_x_forwarded_from_a_trusted_proxy() -> None:
    made = urls(absolute_urls=True, **TRUSTED)
    headers = {
        "X-Forwarded-For": "192.0.2.99, 198.51.100.2",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "media.example:8443",
        "X-Forwarded-Prefix": "/files/",
    }
    assert made.base(request(PROXY, headers)) == "https://media.example:8443/files"
    assert made.client(request(PROXY, headers)) == "198.51.100.2"
    relative = urls(**TRUSTED)
    assert relative.base(request(PROXY, headers)) == "/files"


def test_through_two_proxies_of_ours() -> None:
    made = urls(absolute_urls=True, **TRUSTED)
    headers = {"X-Forwarded-For": f"192.0.2.99, 198.51.100.2, {INNER}"}
    assert made.client(request(PROXY, headers)) == "198.51.100.2"
    made = urls(absolute_urls=True, proxy_headers="forwarded", **TRUSTED)
    headers = {
        "Forwarded": "for=192.0.2.99;host=evil.example, for=198.51.100.2;host=media.example;"
        f"proto=https, for={INNER};proto=http"
    }
    assert made.seen(request(PROXY, headers)) == Outside(
        "198.51.100.2", "https", "media.example", ""
    )


def test_only_proxies_of_ours() -> None:
    assert urls(**TRUSTED).client(request(PROXY, {"X-Forwarded-For": INNER})) == INNER


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-Host", "media.example/evil"),
        ("X-Forwarded-Host", "a b"),
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Prefix", "/a/../../b"),
        ("X-Forwarded-For", "192.0.2.1, <x>"),
    ],
)
def test_what_is_not_valid_is_as_if_it_were_not_there(name: str, value: str) -> None:
    made = urls(absolute_urls=True, **TRUSTED)
    assert made.seen(request(PROXY, {name: value})) == Outside(PROXY, "http", "inside:8080", "")


def test_a_host_that_is_none_gives_a_path() -> None:
    assert urls(absolute_urls=True).base(request(PROXY, {"Host": "a b"})) == ""


def test_a_peer_of_version_6() -> None:
    made = urls(trusted_proxies=["::1/128", "10.0.0.0/8"])
    headers = {"X-Forwarded-For": "198.51.100.2"}
    assert made.client(request("::1", headers)) == "198.51.100.2"
    assert made.client(request("::ffff:10.0.0.9", headers)) == "198.51.100.2"
    assert made.client(request("::2", headers)) == "::2"
