"""INV-10: what allows a read of a media URL, and that made-up parameters are never free."""

from typing import Any, cast

import pytest
from aiohttp.test_utils import make_mocked_request

from mediastore.access.authenticator import Authenticator
from mediastore.access.signed_links import SignedLinks
from mediastore.clock import SystemClock
from mediastore.delivery.granting import OPEN, Granting
from mediastore.errors import NotFound
from mediastore.settings import LinksSettings

SETTINGS = LinksSettings(keys=[{"id": "a", "secret": "x" * 32}])
PATH = "/media/acme/00/w_300/photo.webp"
SIGNED, EXPIRES = SignedLinks(SETTINGS, SystemClock()).make("acme", PATH, 3600)


def granting(*, unsigned_parameters: bool = False) -> Granting:
    links = SignedLinks(SETTINGS, SystemClock())
    nobody = cast("Authenticator", None)
    return Granting(links, nobody, unsigned_parameters=unsigned_parameters)


@pytest.mark.parametrize(
    ("url", "asked", "expected"),
    [
        (PATH, {"public": True}, "open"),
        (PATH, {"public": False}, None),
        (PATH, {"public": True, "free": True}, None),
        (PATH, {"public": False, "free": True}, None),
        (SIGNED, {"public": True}, "open"),
        (SIGNED, {"public": False}, "signed"),
        (SIGNED, {"public": True, "free": True}, "signed"),
        (SIGNED, {"public": False, "free": True}, "signed"),
        (SIGNED.replace("w_300", "w_301"), {"public": True, "free": True}, None),
    ],
)
def test_the_table(url: str, asked: dict[str, Any], expected: str | None) -> None:
    found = granting().at_once(make_mocked_request("GET", url), "acme", **asked)
    if expected == "signed":
        assert found is not None
        assert (found.shared, found.until) == (True, EXPIRES)
    else:
        assert found == (OPEN if expected else None)


def test_signing_can_be_switched_off_for_public_tenants_alone() -> None:
    off = granting(unsigned_parameters=True)
    request = make_mocked_request("GET", PATH)
    assert off.at_once(request, "acme", public=True, free=True) == OPEN
    assert off.at_once(request, "acme", public=False, free=True) is None
    assert off.at_once(request, "acme", public=False) is None


async def test_without_a_key_it_is_not_there() -> None:
    with pytest.raises(NotFound):
        await granting().by_key(make_mocked_request("GET", PATH), "acme")
