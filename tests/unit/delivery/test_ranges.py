"""RFC 9110, section 14: the table of what a Range header may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.delivery.ranges import GAP_MAX_BYTES, ByteRange, parse_ranges
from mediastore.errors import RangeNotSatisfiable

SIZE = 10_000


def parse(header: str, size: int = SIZE) -> list[tuple[int, int]] | None:
    found = parse_ranges(header, size, ranges_max=4)
    return None if found is None else [(part.start, part.end) for part in found]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-499", (0, 500)),
        ("bytes=500-999", (500, 1000)),
        ("bytes=-500", (9500, 10_000)),
        ("bytes=9500-", (9500, 10_000)),
        ("bytes=0-0", (0, 1)),
        ("bytes=-1", (9999, 10_000)),
        ("bytes=0-", (0, 10_000)),
        ("bytes=0-9999", (0, 10_000)),
        ("bytes=0-10000", (0, 10_000)),
        ("bytes=9999-99999999999999999999999999", (9999, 10_000)),
        ("bytes=-10001", (0, 10_000)),
        ("Bytes=0-1", (0, 2)),
        ("bytes= 0-1 ", (0, 2)),
        ("bytes=,0-1,", (0, 2)),
    ],
)
def test_one_range(header: str, expected: tuple[int, int]) -> None:
    assert parse(header) == [expected]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=5-4",
        "bytes=--5",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=0x1-2",
        "bytes=٠-٩",
        "bytes=0-1,x",
        "bytes=0-1,5-4",
        "bytes=0-1, bytes=5-6",
        "bytes=0-1,-",
        "bytes=0-0,1000-1000,2000-2000,3000-3000,4000-4000",  # one more than are served
        "chunks=0-1",
        "0-1",
    ],
)
def test_what_is_not_valid_or_too_much_is_ignored(header: str) -> None:
    """14.2: MAY ignore; 14.1.1: a set with an invalid range is invalid as a whole."""
    assert parse(header) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-499,1000-1499", [(0, 500), (1000, 1500)]),
        ("bytes=1000-1499, 0-499", [(1000, 1500), (0, 500)]),  # 15.3.7.2: in the order asked for
        ("bytes=500-600,0-499", [(0, 601)]),
        ("bytes=0-499,400-999", [(0, 1000)]),
        ("bytes=0-499,100-199", [(0, 500)]),
        (f"bytes=0-99,{100 + GAP_MAX_BYTES}-999", [(0, 1000)]),
        (f"bytes=0-99,{101 + GAP_MAX_BYTES}-999", [(0, 100), (101 + GAP_MAX_BYTES, 1000)]),
        ("bytes=5000-5999,0-99,5500-6500", [(5000, 6501), (0, 100)]),
        ("bytes=0-99,5000-5999,50-5500", [(0, 6000)]),
        ("bytes=0-1,-1", [(0, 2), (9999, 10_000)]),
        ("bytes=-1,0-1", [(9999, 10_000), (0, 2)]),
        ("bytes=0-1, 20000-", [(0, 2)]),  # what lies past the end is left out
        ("bytes=20000-, 20001-,5-5", [(5, 6)]),
        ("bytes=-0,5-5", [(5, 6)]),
        ("bytes=0-,0-,0-,0-", [(0, 10_000)]),
        ("bytes=,,0-0,,1000-1000", [(0, 1), (1000, 1001)]),
    ],
)
def test_several_ranges(header: str, expected: list[tuple[int, int]]) -> None:
    assert parse(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "bytes=10000-",
        "bytes=10000-10001",
        "bytes=-0",
        "bytes=99999999999999999999-",
        "bytes=10000-,-0,20000-",
    ],
)
def test_past_the_end_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        parse(header)
    assert refused.value.members == {"size": SIZE}


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=0-0", "bytes=-0"])
def test_empty_content_has_no_ranges(header: str) -> None:
    assert parse(header, 0) is None


def test_content_range_names_the_last_byte() -> None:
    assert ByteRange(0, 1).content_range(10) == "bytes 0-0/10"


@given(st.text(alphabet="bytes=0123456789-, ", max_size=60), st.integers(1, 1000))
def test_whatever_comes_the_ranges_lie_within_and_apart(header: str, size: int) -> None:
    try:
        found = parse(header, size)
    except RangeNotSatisfiable:
        return
    assert found != []
    covered = 0
    for start, end in sorted(found or ()):
        assert covered <= start < end <= size
        covered = end + GAP_MAX_BYTES


SPANS = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=4)


@given(SPANS)
def test_every_byte_that_was_asked_for_is_sent(spans: list[tuple[int, int]]) -> None:
    spans = [(min(span), max(span)) for span in spans]
    found = parse("bytes=" + ",".join(f"{first}-{last}" for first, last in spans))
    assert found is not None
    for first, last in spans:
        assert any(start <= first and last < end for start, end in found)
