"""CORS: which origins match, and what settings are refused."""

from typing import Any

import pytest

from mediastore.cors import (
    EXPOSED_HEADERS,
    NOT_EXPOSED,
    ORIGINS_KEPT_MAX,
    READABLE_ANYWAY,
    Cors,
    open_cors,
)
from mediastore.errors import BadSettings
from mediastore.settings import load_settings

PAGES = ["https://app.example.com", "https://*.example.org", "capacitor://localhost"]


def cors(*origins: str, **settings: Any) -> Cors:
    made = open_cors(load_settings(cors={"allowed_origins": origins, **settings}).cors)
    assert made is not None
    return made


def allowed(made: Cors, origin: str | None) -> str | None:
    return dict(made.fields(origin)).get("Access-Control-Allow-Origin")


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "https://a.example.org",
        "https://a.b.example.org",
        "capacitor://localhost",
    ],
)
def test_what_matches_is_named_in_the_answer(origin: str) -> None:
    assert allowed(cors(*PAGES), origin) == origin


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "",
        "https://app.example.com.evil.example",
        "https://app.example.com:8443",
        "http://app.example.com",
        "https://evil-app.example.com",
        "https://example.org",
        "https://evilexample.org",
        "https://a.example.org.evil.example",
        "https://a.example.org:444",
        "https://evil.example/.example.org",
        "https://a b.example.org",
        "https://a.example.org\n",
    ],
)
def test_what_does_not_match_is_not(origin: str | None) -> None:
    made = cors(*PAGES)
    assert allowed(made, origin) is None
    assert made.lines(origin) == b"Vary: Origin\r\n"


def test_everybody_gets_the_same_answer() -> None:
    made = cors("*", "https://app.example.com")
    assert allowed(made, "https://any.example") == allowed(made, None) == "*"
    assert b"Vary" not in made.lines("https://any.example")


def test_credentials_are_said_only_when_they_are_allowed() -> None:
    named = dict(cors(*PAGES, credentials=True).fields(PAGES[0]))
    assert named["Access-Control-Allow-Credentials"] == "true"
    assert "Access-Control-Allow-Credentials" not in dict(cors(*PAGES).fields(PAGES[0]))
    with pytest.raises(BadSettings, match="credentials"):
        cors("*", credentials=True)


@pytest.mark.parametrize(
    "origin", ["https://a.example/", "https://", "null", "*.example.com", "https://*", "https://a*"]
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(BadSettings, match="allowed_origins"):
        cors(origin)


def test_off_is_nothing() -> None:
    assert open_cors(load_settings().cors) is None


def test_what_is_kept_is_bounded() -> None:
    made = cors(*PAGES)
    for number in range(2 * ORIGINS_KEPT_MAX):
        made.fields(f"https://{number}.example.org")
    assert len(made._kept) == ORIGINS_KEPT_MAX


def test_a_header_is_in_one_list() -> None:
    exposed = {name.lower() for name in EXPOSED_HEADERS}
    assert len(exposed) == len(EXPOSED_HEADERS)
    assert list(EXPOSED_HEADERS) == sorted(EXPOSED_HEADERS, key=str.lower)
    assert not exposed & {name.lower() for name in READABLE_ANYWAY | NOT_EXPOSED}
