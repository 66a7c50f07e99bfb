"""RFC 9110, section 14: the table of what a Range header may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.delivery.ranges import ByteRange, parse_range
from mediastore.errors import RangeNotSatisfiable

SIZE = 10_000


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
    assert parse_range(header, SIZE) == ByteRange(*expected)


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
        "bytes=0-1,5-6",
        "bytes=0-1, 20000-",
        "chunks=0-1",
        "0-1",
    ],
)
def test_what_is_not_one_valid_range_of_bytes_is_ignored(header: str) -> None:
    assert parse_range(header, SIZE) is None


@pytest.mark.parametrize(
    "header", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=99999999999999999999-"]
)
def test_past_the_end_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        parse_range(header, SIZE)
    assert refused.value.members == {"size": SIZE}


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=0-0", "bytes=-0"])
def test_empty_content_has_no_ranges(header: str) -> None:
    assert parse_range(header, 0) is None


def test_content_range_names_the_last_byte() -> None:
    assert ByteRange(0, 1).content_range(10) == "bytes 0-0/10"


@given(st.text(alphabet="bytes=0123456789-, ", max_size=40), st.integers(1, 1000))
def test_whatever_comes_the_range_lies_within(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    assert found is None or 0 <= found.start < found.end <= size
