"""docs/ietf.md names, in every row of its conformance table, tests that exist."""

import re
from pathlib import Path

import pytest

from mediastore.uploads.ietf.dialects import DIALECTS
from tests.unit.test_invariants_page import functions

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ietf.md").read_text()
INTEGRATION, UNIT = (
    "tests/integration/uploads/test_ietf_{}.py",
    "tests/unit/uploads/ietf/test_{}.py",
)
FILES = {
    **{name: INTEGRATION.format(name) for name in ("creation", "resource", "interim", "resuming")},
    **{name: UNIT.format(name) for name in ("fields", "limits", "dialects")},
    **{name: INTEGRATION.format(name) for name in ("digests", "slow", "model")},
    "tus": "tests/integration/uploads/test_tus_protocol.py",
    "power": "tests/integration/uploads/test_model_power.py",
    "body": "tests/unit/uploads/test_body.py",
    "nginx": "tests/acceptance/test_ietf.py",
}
ROWS = [line for line in PAGE.partition("| section |")[2].splitlines()[2:] if line.startswith("|")]


def named_tests(row: str) -> list[tuple[str, str]]:
    """The tests of a row, each with the file whose short name was said last."""
    named, short = [], ""
    for said, test in re.findall(r"\*(\w+)\*|`(test_\w+)`", row):
        short = said or short
        if test:
            named.append((FILES[short], test))
    return named


@pytest.mark.parametrize("row", ROWS)
def test_every_rule_has_tests_and_they_exist(row: str) -> None:
    named = named_tests(row)
    assert named
    assert [test for path, test in named if test not in functions(ROOT / path)] == []


def test_the_table_is_found() -> None:
    assert len(ROWS) > 50
    assert set(FILES) == {short for row in ROWS for short in re.findall(r"\*(\w+)\*", row)}


def test_the_page_has_every_version() -> None:
    told = re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)
    assert sorted(int(version) for version in told) == sorted(DIALECTS)
