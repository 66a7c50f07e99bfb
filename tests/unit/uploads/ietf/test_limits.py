"""Upload-Limit tells what is enforced, in the words of each version."""

import pytest
from pydantic import ValidationError

from mediastore.errors import TooLarge
from mediastore.ietf_errors import AppendTooSmall
from mediastore.settings import UploadSettings
from mediastore.uploads.ietf.dialects import DIALECTS
from mediastore.uploads.ietf.limits import Limits

ALL = Limits(size_max=1000, size_min=10, append_max=100, append_min=5, lifetime_seconds=60)
FEW = Limits(size_max=1000, size_min=0, append_max=None, append_min=0, lifetime_seconds=60)


@pytest.mark.parametrize(
    ("version", "field"),
    [
        (3, None),
        (5, None),
        (6, "max-size=1000, min-size=10, max-append-size=100, min-append-size=5, expires=60"),
        (7, "max-size=1000, min-size=10, max-append-size=100, min-append-size=5, max-age=60"),
        (8, "max-size=1000, min-size=10, max-append-size=100, min-append-size=5, max-age=60"),
    ],
)
def test_the_field(version: int, field: str | None) -> None:
    assert ALL.field(DIALECTS[version], 60.9) == field


def test_what_does_not_limit_is_not_told() -> None:
    assert FEW.field(DIALECTS[8], 3600) == "max-size=1000, max-age=3600"
    assert FEW.field(DIALECTS[8], -3) == "max-size=1000"


@pytest.mark.parametrize(
    ("length", "offers"), [(None, False), (9, False), (10, True), (10_000, True)]
)
def test_small_content_is_not_made_resumable(length: int | None, offers: bool) -> None:
    assert ALL.offers_resumption(length) is offers
    assert FEW.offers_resumption(length)


def test_sizes() -> None:
    ALL.check_length(None)
    ALL.check_length(1000)
    with pytest.raises(TooLarge):
        ALL.check_length(1001)


@pytest.mark.parametrize(
    ("content_length", "completes", "creates", "refusal"),
    [
        (None, False, False, None),
        (100, False, False, None),
        (101, False, False, TooLarge),
        (101, True, True, TooLarge),
        (5, False, False, None),
        (4, False, False, AppendTooSmall),
        (4, False, True, AppendTooSmall),
        (4, True, False, None),
        (0, False, True, None),
        (0, True, False, None),
        (0, False, False, AppendTooSmall),
    ],
)
def test_content(
    content_length: int | None, completes: bool, creates: bool, refusal: type[Exception] | None
) -> None:
    if refusal is None:
        ALL.check_content(content_length, completes=completes, creates=creates)
        return
    with pytest.raises(refusal):
        ALL.check_content(content_length, completes=completes, creates=creates)


def test_settings_leave_room_for_some_append() -> None:
    with pytest.raises(ValidationError, match="append_size_max_bytes"):
        UploadSettings(append_size_min_bytes=10, append_size_max_bytes=9)
    limits = Limits.of(UploadSettings(append_size_min_bytes=9, append_size_max_bytes=9))
    assert (limits.append_min, limits.append_max) == (9, 9)
