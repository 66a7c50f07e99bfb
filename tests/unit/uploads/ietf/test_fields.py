"""Headers are structured fields: strictly read, and absent when they are anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from mediastore.errors import BadLength, BadRequest
from mediastore.ietf_errors import InconsistentUploadLength, UnsupportedInteropVersion
from mediastore.uploads.ietf.dialects import DIALECTS
from mediastore.uploads.ietf.fields import Asked, count, item, read_fields, speaks_draft

VERSION = "Upload-Draft-Interop-Version"


def headers(*pairs: tuple[str, str], **fields: str) -> CIMultiDictProxy[str]:
    named = [(name.replace("_", "-"), value) for name, value in fields.items()]
    return CIMultiDictProxy(CIMultiDict([*pairs, *named]))


def read(content_length: int | None = None, **fields: str) -> Asked:
    return read_fields(headers(**fields), content_length=content_length)


def read_version(version: str, **fields: str) -> Asked:
    return read_fields(headers((VERSION, version), **fields), content_length=None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("42", 42),
        ("007", 7),
        (" 5 ", 5),
        ("5;x=1", 5),
        ("999999999999999", 999_999_999_999_999),
        ("1000000000000000", None),
        ("-1", None),
        ("1.0", None),
        ("+1", None),
        ("1e3", None),
        ("0x1", None),
        ("1_0", None),
        ("1, 2", None),
        ('"1"', None),
        ("?1", None),
        ("", None),
        ("٣", None),
        ("1\udcff", None),
    ],
)
def test_integers(text: str, value: int | None) -> None:
    assert count(headers(Upload_Offset=text), "Upload-Offset") == value


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("?1", True),
        ("?0", False),
        (" ?1", True),
        ("?1;later", True),
        ("1", None),
        ("true", None),
        ("?2", None),
        ("?1?", None),
        ("?1, ?1", None),
        ("", None),
    ],
)
def test_booleans(text: str, complete: bool | None) -> None:
    assert read(Upload_Complete=text).complete is complete


def test_an_item_that_comes_twice_is_none() -> None:
    twice = headers(("Upload-Offset", "1"), ("Upload-Offset", "1"))
    assert count(twice, "Upload-Offset") is None


@given(st.text(max_size=20))
def test_no_text_raises(text: str) -> None:
    value = item(headers(Upload_Offset=text), "Upload-Offset")
    assert value is None or isinstance(value, object)
    number = count(headers(Upload_Offset=text), "Upload-Offset")
    assert number is None or number >= 0


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_every_integer_is_read_back(number: int) -> None:
    assert count(headers(Upload_Length=str(number)), "Upload-Length") == number


@pytest.mark.parametrize("version", sorted(DIALECTS))
def test_the_version_chooses_the_dialect(version: int) -> None:
    asked = read_version(str(version))
    assert asked.dialect is DIALECTS[version]
    assert asked.version_sent


def test_without_a_version() -> None:
    assert read(Upload_Complete="?1").dialect is DIALECTS[8]
    assert read(Upload_Incomplete="?1").dialect is DIALECTS[3]
    assert not read(Upload_Complete="?1").version_sent


@pytest.mark.parametrize("version", ["0", "1", "2", "9", "-3", "8.0", '"8"', "eight", "", "8, 8"])
def test_other_versions(version: str) -> None:
    with pytest.raises(UnsupportedInteropVersion) as refused:
        read_version(version)
    assert refused.value.members["supported"] == [3, 4, 5, 6, 7, 8]


def test_version_3_is_inverted_and_silence_completes() -> None:
    assert read_version("3", Upload_Incomplete="?0").complete is True
    assert read_version("3", Upload_Incomplete="?1").complete is False
    assert read_version("3").complete is True
    assert read_version("3", Upload_Incomplete="yes").complete is None
    assert read_version("4").complete is None


def test_what_must_be_said() -> None:
    with pytest.raises(BadRequest, match="Upload-Complete"):
        _ = read().completes
    with pytest.raises(BadLength, match="Upload-Offset"):
        _ = read(Upload_Offset="x").at


@pytest.mark.parametrize(
    ("content_length", "fields", "length"),
    [
        (10, {"Upload_Complete": "?1"}, 15),
        (10, {"Upload_Complete": "?0"}, None),
        (None, {"Upload_Complete": "?1"}, None),
        (10, {"Upload_Complete": "?0", "Upload_Length": "99"}, 99),
        (None, {"Upload_Complete": "?1", "Upload_Length": "99"}, 99),
        (10, {"Upload_Complete": "?1", "Upload_Length": "15"}, 15),
        (0, {"Upload_Complete": "?1"}, 5),
    ],
)
def test_lengths_that_are_told(
    content_length: int | None, fields: dict[str, str], length: int | None
) -> None:
    assert read(content_length, **fields).told_length(5) == length


def test_lengths_that_contradict_each_other() -> None:
    with pytest.raises(InconsistentUploadLength):
        read(10, Upload_Complete="?1", Upload_Length="16").told_length(5)


@pytest.mark.parametrize(
    ("fields", "speaks"),
    [
        ({"Upload_Complete": "?1"}, True),
        ({"Upload_Complete": "nonsense"}, True),
        ({"Upload_Incomplete": "?1"}, True),
        ({VERSION: "9"}, True),
        ({"Content_Type": "application/partial-upload"}, True),
        ({"Upload_Offset": "0"}, False),
        ({"Upload_Length": "0"}, False),
    ],
)
def test_whose_request_it_is(fields: dict[str, str], speaks: bool) -> None:
    assert speaks_draft(headers(**fields)) is speaks
