"""Signed links: the recipe of docs/serving.md, and that nothing but what was signed is good."""

import hmac
import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mediastore.access.signed_links import SignedLinks
from mediastore.errors import BadRequest
from mediastore.links import (
    LinkSigner,
    media_path,
    round_up_expiry,
    sign_link,
    tenant_link_secret,
)
from mediastore.origin_errors import LinksNotConfigured
from mediastore.settings import LinksSettings

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
SERVICE_SECRET = "correct horse battery staple, 32 characters at least"
SECRET = tenant_link_secret(SERVICE_SECRET, "acme")
NOW = datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
EXPIRES = 1_767_225_600  # half an hour later
BLOB = "8124654d2b9adaf9c16348c8a34c021ef863164a1e5afe733b68d40bf0fc2390"
PATH = f"/media/acme/{BLOB}/photo.jpg"


class SetClock:
    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


def links(moment: datetime = NOW, **settings: Any) -> SignedLinks:
    settings.setdefault("keys", [{"id": "2026a", "secret": SERVICE_SECRET}])
    return SignedLinks(LinksSettings(**settings), SetClock(moment))


def signed(path: str = PATH, *, expires: int = EXPIRES, key_id: str = "2026a") -> tuple[str, str]:
    """Path and query as they come to the server."""
    link = sign_link(path, expires=expires, key_id=key_id, secret=SECRET)
    raw_path, _, query = link.partition("?")
    return raw_path, query


def test_the_vectors_of_the_page() -> None:
    assert f"2026a {SECRET}\n" in PAGE
    vectors = re.findall(r"^\| `(/media/[^`]*)` \| `([^`]*)` \|$", PAGE, re.MULTILINE)
    assert len(vectors) == 3
    for text, signature in vectors:
        assert LinkSigner(SECRET.encode()).signature(text) == signature
        path, _, query = text.rpartition("?")
        raw_path, _ = signed(path)
        assert links().good_until("acme", raw_path, f"{query}&sig={signature}") == EXPIRES
    (url,) = re.findall(r"^`(/media/\S*%\S*)`\.$", PAGE, re.MULTILINE)
    assert links().good_until("acme", *url.split("?")) == EXPIRES


def test_a_link_is_good_until_it_expires() -> None:
    path, query = signed()
    for moment, expected in (
        (NOW, EXPIRES),
        (datetime.fromtimestamp(EXPIRES - 1, UTC), EXPIRES),
        (datetime.fromtimestamp(EXPIRES, UTC), None),
        (NOW + timedelta(days=400), None),
    ):
        assert links(moment).good_until("acme", path, query) == expected


PATH_, QUERY = signed()


@pytest.mark.parametrize(
    ("tenant", "path", "query"),
    [
        ("acme", PATH_, ""),
        ("acme", PATH_, QUERY[:-1]),
        ("acme", PATH_, QUERY[:-1] + ("A" if QUERY[-1] != "A" else "B")),
        ("acme", PATH_, QUERY + "="),
        ("acme", PATH_, QUERY + "&x=1"),
        ("acme", PATH_, "x=1&" + QUERY),
        ("acme", PATH_, QUERY + "&" + QUERY),
        ("acme", PATH_, "&".join(reversed(QUERY.split("&")))),
        ("acme", PATH_, QUERY.replace("exp=", "exp=0")),
        ("acme", PATH_, QUERY.replace(str(EXPIRES), str(EXPIRES + 1))),
        ("acme", PATH_, QUERY.replace("2026a", "2026b")),
        ("acme", PATH_, QUERY.replace("2026a", "nobody")),
        ("acme", PATH_.replace("photo", "other"), QUERY),
        ("acme", PATH_.replace(BLOB, "0" * 64), QUERY),
        ("acme", PATH_ + "/x.jpg", QUERY),
        ("acme", PATH_.replace("photo", "w_100%2Fphoto"), QUERY),
        ("acme", PATH_ + "%FF", QUERY),
        ("acme", PATH_ + "\udcff", QUERY),
        ("other", PATH_, QUERY),
        ("other", PATH_.replace("acme", "other"), QUERY),
    ],
)
def test_nothing_else_is_good(tenant: str, path: str, query: str) -> None:
    keys = [{"id": name, "secret": SERVICE_SECRET + name} for name in ("2026a", "2026b")]
    keys[0]["secret"] = SERVICE_SECRET
    assert links(keys=keys).good_until("acme", PATH_, QUERY) == EXPIRES
    assert links(keys=keys).good_until(tenant, path, query) is None


def test_a_slash_in_a_name_can_not_be_signed_into_another_path() -> None:
    with pytest.raises(ValueError, match="one segment"):
        media_path("acme", BLOB, "w_9000/photo.jpg")
    encoded = f"/media/acme/{BLOB}/w_9000%2Fphoto.jpg"
    _, query = signed(f"/media/acme/{BLOB}/w_9000/photo.jpg")
    assert links().good_until("acme", encoded, query) is None


def test_any_percent_encoding_of_the_signed_path_is_that_path() -> None:
    _, query = signed()
    for raw in (PATH.replace("photo", "%70hoto"), PATH.replace(".jpg", "%2ejpg"), PATH):
        assert links().good_until("acme", raw, query) == EXPIRES


def test_keys_are_changed_without_a_broken_link() -> None:
    old = {"id": "2026a", "secret": SERVICE_SECRET}
    new = {"id": "2026b", "secret": "x" * 32}
    made, _ = links(keys=[old]).make("acme", PATH, None)
    both = links(keys=[new, old])
    assert both.good_until("acme", *made.split("?")) is not None
    assert "kid=2026b" in both.make("acme", PATH, None)[0]
    assert links(keys=[new]).good_until("acme", *made.split("?")) is None


def test_links_of_one_step_are_one_url() -> None:
    def made(minute: int) -> tuple[str, int]:
        moment = NOW.replace(hour=12, minute=minute)
        return links(moment).make("acme", PATH, 600)

    assert made(1) == made(20) == made(49)
    assert made(51) != made(49)
    expires = made(49)[1]
    assert expires % 3600 == 0
    assert expires >= NOW.replace(hour=12, minute=49).timestamp() + 600


@pytest.mark.parametrize("seconds", [0, -1, 3601])
def test_a_time_that_is_too_long_or_none(seconds: int) -> None:
    with pytest.raises(BadRequest):
        links(expires_seconds_max=3600).make("acme", PATH, seconds)


def test_who_signs_cannot_go_past_the_longest_time() -> None:
    path, query = signed(expires=EXPIRES + 2 * 3600)
    assert links(expires_seconds_max=3600).good_until("acme", path, query) is None
    assert links(expires_seconds_max=7200).good_until("acme", path, query) is not None


def test_without_keys_nothing_is_made_and_nothing_good() -> None:
    with pytest.raises(LinksNotConfigured):
        links(keys=[]).make("acme", PATH, None)
    assert links(keys=[]).good_until("acme", *signed()) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"keys": [{"id": "a", "secret": "short"}]},
        {"keys": [{"id": "a&b", "secret": "x" * 32}]},
        {"keys": [{"id": "a", "secret": "x" * 32}] * 2},
        {"expires_seconds": 7200, "expires_seconds_max": 3600},
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"validation error|links\."):
        LinksSettings(**settings)


NAME = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1)


@given(NAME, NAME)
def test_every_name_can_be_signed_and_opens_nothing_of_another_name(one: str, other: str) -> None:
    path, query = signed(media_path("acme", BLOB, one))
    assert links().good_until("acme", path, query) == EXPIRES
    if one != other:
        path, _ = signed(media_path("acme", BLOB, other))
        assert links().good_until("acme", path, query) is None


@example(b"k" * 64, "")
@example(b"k" * 65, "")
@given(st.binary(max_size=200), st.text(st.characters(codec="utf-8")))
def test_a_signature_is_the_hmac_of_the_standard_library(secret: bytes, text: str) -> None:
    """Secrets may be shorter and longer than a block of SHA-256, 64 bytes."""
    expected = urlsafe_b64encode(hmac.digest(secret, text.encode(), "sha256"))
    assert LinkSigner(secret).signature(text) == expected.rstrip(b"=").decode()


def test_rounding_up() -> None:
    assert [round_up_expiry(moment) for moment in (0, 0.5, 3600, 3600.1)] == [0, 3600, 3600, 7200]
    assert round_up_expiry(61, step_seconds=60) == 120
