"""docs/tus.md names tests that exist, for every rule of the protocol and every extension."""

import re
from pathlib import Path

from mediastore.uploads.tus.protocol import EXTENSIONS
from tests.unit.test_invariants_page import functions

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tus.md").read_text()
TEST = re.compile(r"`(tests/[\w/.]+\.py)::(\w+)`")
RULES = re.findall(r"^\| (?!rule \||---)(.+?) \| (.*) \|$", PAGE, re.MULTILINE)


def test_every_rule_has_a_test() -> None:
    assert len(RULES) > 40
    assert [rule for rule, tests in RULES if not TEST.fullmatch(tests.split(" ")[0])] == []


def test_every_named_test_exists() -> None:
    named = TEST.findall(PAGE)
    missing = [f"{path}::{name}" for path, name in named if name not in functions(ROOT / path)]
    assert missing == []


def test_every_extension_has_its_rules() -> None:
    announced = re.findall(r"^\| `([a-z-]+)` MUST be in Tus-Extension", PAGE, re.MULTILINE)
    off = {"checksum-trailer"}
    assert sorted(set(announced) - off) == sorted(EXTENSIONS)
