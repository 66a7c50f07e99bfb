"""Each driver against a server that answers as its vendor documents; no vendor was called."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import web

from mediastore.clock import SystemClock
from mediastore.events.cdn.opening import open_purgers
from mediastore.events.cdn.protocol import PurgeFailed, Purger
from mediastore.hooks.posting import open_poster
from mediastore.settings import PurgeSettings
from tests.receiver import Receiver
from tests.vendors import (
    CLOUDFLARE_TAGS_MAX,
    FASTLY_KEYS_MAX,
    Purged,
    Vendors,
    purge_settings,
    too_many_invalidations,
    vendors_answering,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CDNS = ("fastly", "cloudflare", "cloudfront")
TAGS = ["blob-" + "0" * 64, "tenant-acme"]
Opening = Callable[..., AbstractAsyncContextManager[Purger]]


@pytest.fixture
async def vendors() -> AsyncIterator[Vendors]:
    async with vendors_answering() as answering:
        yield answering


@asynccontextmanager
async def opened(**settings: object) -> AsyncIterator[Purger]:
    clock = SystemClock()
    chosen = PurgeSettings.model_validate(settings)
    async with open_poster(clock) as poster, open_purgers(chosen, poster, clock) as purgers:
        (purger,) = purgers
        yield purger


@pytest.mark.parametrize("cdn", CDNS)
async def test_tags_are_purged(vendors: Vendors, cdn: str) -> None:
    async with opened(**purge_settings(vendors, cdn)) as purger:
        assert purger.name == cdn
        await purger.purge(TAGS, hard=False)
        await purger.purge(TAGS[:1], hard=True)
    soft = cdn == "fastly"
    assert vendors.purged == [Purged(cdn, tuple(TAGS), soft), Purged(cdn, tuple(TAGS[:1]))]


async def test_fastly_is_hard_from_the_first_purge_where_that_is_wanted(vendors: Vendors) -> None:
    async with opened(**purge_settings(vendors, "fastly"), fastly_soft=False) as purger:
        await purger.purge(TAGS, hard=False)
    assert vendors.purged == [Purged("fastly", tuple(TAGS))]


@pytest.mark.parametrize(
    ("cdn", "most"), [("fastly", FASTLY_KEYS_MAX), ("cloudflare", CLOUDFLARE_TAGS_MAX)]
)
async def test_a_call_has_no_more_tags_than_the_vendor_takes(
    vendors: Vendors, cdn: str, most: int
) -> None:
    async with opened(**purge_settings(vendors, cdn)) as purger:
        assert purger.tags_max == most
        await purger.purge([f"tag-{n}" for n in range(most)], hard=True)
        with pytest.raises(PurgeFailed, match="400"):
            await purger.purge([f"tag-{n}" for n in range(most + 1)], hard=True)


@pytest.mark.parametrize(
    ("cdn", "setting", "said"),
    [
        ("fastly", "fastly_token", "401: .*credentials are missing or invalid"),
        ("cloudflare", "cloudflare_token", "403: .*Authentication error"),
        ("cloudfront", "cloudfront_access_key_id", "The security token is invalid"),
    ],
)
async def test_a_wrong_token_is_told_in_the_vendor_s_words_and_never_tells_the_token(
    vendors: Vendors, cdn: str, setting: str, said: str
) -> None:
    settings = purge_settings(vendors, cdn) | {setting: "wrong-and-private"}
    async with opened(**settings) as purger:
        with pytest.raises(PurgeFailed, match=said) as raised:
            await purger.purge(TAGS, hard=True)
    assert "private" not in str(raised.value)
    assert vendors.purged == []


@pytest.mark.parametrize("cdn", ["fastly", "cloudflare"])
async def test_a_vendor_that_asks_for_time_gets_it(vendors: Vendors, cdn: str) -> None:
    vendors.fails(cdn, 429, **{"Retry-After": "17"})
    async with opened(**purge_settings(vendors, cdn)) as purger:
        with pytest.raises(PurgeFailed, match="429") as raised:
            await purger.purge(TAGS, hard=True)
    assert raised.value.retry_after_seconds == 17


async def test_cloudfront_with_too_many_under_way(vendors: Vendors) -> None:
    async def answer(request: web.Request) -> web.Response:
        return too_many_invalidations(request)

    vendors.failing["cloudfront"] = answer
    async with opened(**purge_settings(vendors, "cloudfront")) as purger:
        with pytest.raises(PurgeFailed, match="TooManyInvalidationsInProgress"):
            await purger.purge(TAGS, hard=True)
    assert vendors.calls == 1  # what is tried again is tried by the outbox


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"success": false, "errors": [{"code": 1}]}', b'{"success": "true"}']
)
async def test_cloudflare_has_purged_only_if_it_says_so(vendors: Vendors, body: bytes) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    vendors.failing["cloudflare"] = answer
    async with opened(**purge_settings(vendors, "cloudflare")) as purger:
        with pytest.raises(PurgeFailed, match="success"):
            await purger.purge(TAGS, hard=True)


async def test_an_answer_in_pieces_is_read_to_its_end(vendors: Vendors) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"succ', b'ess": true', b"}"):
            await response.write(piece)
            await asyncio.sleep(0.01)
        return response

    vendors.failing["cloudflare"] = answer
    async with opened(**purge_settings(vendors, "cloudflare")) as purger:
        await purger.purge(TAGS, hard=True)


@pytest.mark.parametrize("cdn", CDNS)
async def test_a_vendor_that_says_nothing_or_is_not_there(vendors: Vendors, cdn: str) -> None:
    async def silent(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    vendors.failing[cdn] = silent
    settings = purge_settings(vendors, cdn)
    async with opened(**settings, timeout_seconds=0.2) as purger:
        with pytest.raises(PurgeFailed, match="no answer in time"):
            await purger.purge(TAGS, hard=True)
    nowhere = {name: value.replace(vendors.url, "http://127.0.0.1:1") if isinstance(value, str)
               else value for name, value in settings.items()}  # fmt: skip
    async with opened(**nowhere) as purger:
        with pytest.raises(PurgeFailed, match=r"127\.0\.0\.1"):
            await purger.purge(TAGS, hard=True)


async def test_a_webhook_of_ones_own(receiver: Receiver) -> None:
    async with opened(webhook_url=receiver.url, webhook_secret=SECRET) as purger:
        await purger.purge(TAGS, hard=True)
        receiver.says(503, **{"Retry-After": "9"})
        with pytest.raises(PurgeFailed, match="503") as raised:
            await purger.purge(TAGS, hard=False)
    assert raised.value.retry_after_seconds == 9
    message = receiver.messages[0]
    assert message.signed_with(SECRET)
    assert message.document["type"] == "cdn.purge"
    assert message.document["data"] == {"tags": TAGS, "hard": True}
    async with opened(webhook_url="http://127.0.0.1:1/x", webhook_secret=SECRET) as purger:
        with pytest.raises(PurgeFailed):
            await purger.purge(TAGS, hard=True)
