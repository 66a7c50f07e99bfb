"""Preconditions in the order of RFC 9110, section 13.2.2.

Content under one URL never changes here, so Last-Modified is a strong validator as well (8.8.2.2):
it did not change twice during the second that it names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from multidict import CIMultiDictProxy

_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"')
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME = r"(?P<hour>\d{2}):(?P<minute>\d{2}):(?P<second>\d{2})"
# Section 5.6.7: IMF-fixdate, and the two obsolete forms that recipients must accept.
_DATE_FORMS = (
    re.compile(rf"[A-Z][a-z]{{2}}, (?P<day>\d{{2}}) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{5,8}}, (?P<day>\d{{2}})-{_MONTH}-(?P<year>\d{{2}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{2}} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})"),
)
_CENTURY = 100
_FUTURE_YEARS_MAX = 50


class Outcome(Enum):
    """What the preconditions say."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Validators:
    """A representation's opaque tag (without quotes) and its Last-Modified, in Unix seconds."""

    tag: str
    modified: int


def evaluate(headers: CIMultiDictProxy[str], validators: Validators, *, now: datetime) -> Outcome:
    """The preconditions of a GET or HEAD; dates that do not parse are as good as absent."""
    if "If-Match" in headers:
        if not _matches(headers.getall("If-Match"), validators.tag, weak=False):
            return Outcome.FAILED
    else:
        date = parse_date(headers.get("If-Unmodified-Since"), now=now)
        if date is not None and validators.modified > date:
            return Outcome.FAILED
    if "If-None-Match" in headers:
        if _matches(headers.getall("If-None-Match"), validators.tag, weak=True):
            return Outcome.NOT_MODIFIED
    else:
        date = parse_date(headers.get("If-Modified-Since"), now=now)
        if date is not None and validators.modified <= date:
            return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def range_applies(if_range: str | None, validators: Validators, *, now: datetime) -> bool:
    """Whether Range is to be used (13.1.5): If-Range is absent or names exactly what is served."""
    if if_range is None:
        return True
    value = if_range.strip(" \t")
    tag = _ENTITY_TAG.fullmatch(value)
    if tag is not None:
        return tag[1] is None and tag[2] == validators.tag
    return parse_date(value, now=now) == validators.modified


def parse_date(text: str | None, *, now: datetime) -> int | None:
    """An HTTP-date (5.6.7) as Unix seconds; None for anything else."""
    if text is None:
        return None
    for form in _DATE_FORMS:
        match = form.fullmatch(text.strip(" \t"))
        if match is not None:
            return _seconds(match, now)
    return None


def _seconds(match: re.Match[str], now: datetime) -> int | None:
    year = int(match["year"])
    if year < _CENTURY:  # two digits: more than 50 years ahead means the past
        year += now.year // _CENTURY * _CENTURY
        if year > now.year + _FUTURE_YEARS_MAX:
            year -= _CENTURY
    try:
        moment = datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            min(int(match["second"]), 59),  # a leap second
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return int(moment.timestamp())


def _matches(lines: Sequence[str], tag: str, *, weak: bool) -> bool:
    value = ", ".join(lines).strip(" \t")
    if value == "*":
        return True
    return any(
        (weak or match[1] is None) and match[2] == tag for match in _ENTITY_TAG.finditer(value)
    )
