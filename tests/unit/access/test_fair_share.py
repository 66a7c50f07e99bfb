"""One tenant's share of the requests in progress."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from mediastore.access.fair_share import FairShare
from mediastore.errors import TooManyRequests


def request() -> web.Request:
    return make_mocked_request("GET", "/")


def test_a_tenant_has_its_share_and_no_more() -> None:
    share = FairShare(4, 0.5)
    held = [request(), request()]
    for item in held:
        share.enter(item, "acme")
    with pytest.raises(TooManyRequests):
        share.enter(request(), "acme")
    share.enter(request(), "other")
    share.leave(held[0])
    share.enter(request(), "acme")


def test_a_request_counts_once() -> None:
    share = FairShare(4, 0.25)
    item = request()
    share.enter(item, "acme")
    share.enter(item, "acme")
    share.leave(item)
    assert share._in_progress == {}


def test_a_refused_request_and_one_without_a_tenant_take_nothing() -> None:
    share = FairShare(1, 1)
    held, refused = request(), request()
    share.enter(held, "acme")
    with pytest.raises(TooManyRequests):
        share.enter(refused, "acme")
    share.leave(refused)
    share.leave(request())
    with pytest.raises(TooManyRequests):
        share.enter(request(), "acme")


@given(st.lists(st.sampled_from(["a", "b", "c", "leave"]), max_size=60))
def test_nothing_is_left_over(steps: list[str]) -> None:
    share = FairShare(5, 0.6)
    held: list[web.Request] = []
    for step in steps:
        if step == "leave":
            if held:
                share.leave(held.pop(0))
            continue
        item = request()
        try:
            share.enter(item, step)
        except TooManyRequests:
            assert share._in_progress[step] == share.limit == 3
        else:
            held.append(item)
    for item in held:
        share.leave(item)
    assert share._in_progress == {}
