"""RFC 9110, section 13: the table of preconditions and their precedence."""

from datetime import UTC, datetime

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mediastore.delivery.conditionals import (
    Outcome,
    Validators,
    evaluate,
    parse_date,
    range_applies,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
TAG = "ab" * 32
MODIFIED = int(datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp())
VALIDATORS = Validators(TAG, MODIFIED)
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
EXACTLY = "Sun, 06 Nov 1994 08:49:37 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
SAME, WEAK, OTHER = f'"{TAG}"', f'W/"{TAG}"', '"other"'
PROCEED, UNCHANGED, FAILED = Outcome.PROCEED, Outcome.NOT_MODIFIED, Outcome.FAILED


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, PROCEED),
        ({"If-Match": SAME}, PROCEED),
        ({"If-Match": "*"}, PROCEED),
        ({"If-Match": f"{OTHER}, {SAME}"}, PROCEED),
        ({"If-Match": WEAK}, FAILED),  # strong comparison
        ({"If-Match": OTHER}, FAILED),
        ({"If-Match": TAG}, FAILED),  # no quotes: no entity tag
        ({"If-Unmodified-Since": BEFORE}, FAILED),
        ({"If-Unmodified-Since": EXACTLY}, PROCEED),
        ({"If-Unmodified-Since": "yesterday"}, PROCEED),
        ({"If-Match": SAME, "If-Unmodified-Since": BEFORE}, PROCEED),
        ({"If-None-Match": SAME}, UNCHANGED),
        ({"If-None-Match": WEAK}, UNCHANGED),  # weak comparison
        ({"If-None-Match": "*"}, UNCHANGED),
        ({"If-None-Match": f'"a", {WEAK} , "b"'}, UNCHANGED),
        ({"If-None-Match": '"a,b"'}, PROCEED),
        ({"If-None-Match": OTHER}, PROCEED),
        ({"If-None-Match": ""}, PROCEED),
        ({"If-Modified-Since": BEFORE}, PROCEED),
        ({"If-Modified-Since": EXACTLY}, UNCHANGED),
        ({"If-Modified-Since": AFTER}, UNCHANGED),
        ({"If-Modified-Since": "0"}, PROCEED),
        ({"If-None-Match": OTHER, "If-Modified-Since": AFTER}, PROCEED),
        ({"If-Match": OTHER, "If-None-Match": SAME}, FAILED),
        ({"If-Match": SAME, "If-None-Match": SAME}, UNCHANGED),
        ({"If-Unmodified-Since": BEFORE, "If-None-Match": SAME}, FAILED),
    ],
)
def test_precedence(fields: dict[str, str], expected: Outcome) -> None:
    headers = CIMultiDictProxy(CIMultiDict(fields))
    assert evaluate(headers, VALIDATORS, now=NOW) is expected


def test_entity_tags_on_several_lines_are_one_list() -> None:
    headers = CIMultiDict([("If-None-Match", OTHER), ("If-None-Match", SAME)])
    assert evaluate(CIMultiDictProxy(headers), VALIDATORS, now=NOW) is UNCHANGED


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        (None, True),
        (SAME, True),
        (WEAK, False),
        (OTHER, False),
        (TAG, False),
        (f"{SAME}, {OTHER}", False),
        ("*", False),
        (EXACTLY, True),
        (BEFORE, False),
        (AFTER, False),
        ("nonsense", False),
    ],
)
def test_if_range(if_range: str | None, applies: bool) -> None:
    assert range_applies(if_range, VALIDATORS, now=NOW) is applies


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_the_three_forms_of_a_date(text: str) -> None:
    assert parse_date(text, now=NOW) == MODIFIED


def test_two_digits_mean_the_past_when_more_than_fifty_years_ahead() -> None:
    found = parse_date("Saturday, 24-Nov-76 00:00:00 GMT", now=NOW)
    assert found == int(datetime(2076, 11, 24, tzinfo=UTC).timestamp())
    found = parse_date("Saturday, 24-Nov-77 00:00:00 GMT", now=NOW)
    assert found == int(datetime(1977, 11, 24, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 +0100",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "1994-11-06T08:49:37Z",
        "٠٦ Nov 1994",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text, now=NOW) is None
