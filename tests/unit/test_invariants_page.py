"""docs/invariants.md names tests that exist, for every invariant."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "invariants.md").read_text()
NAMED = re.findall(r"`(tests/[\w/.]+\.py)::(\w+)`", PAGE)


def test_every_named_test_exists() -> None:
    missing = [f"{path}::{name}" for path, name in NAMED if name not in functions(ROOT / path)]
    assert missing == []


def test_every_invariant_has_a_test() -> None:
    rows = re.findall(r"^\| INV-(\d+) .*`tests/", PAGE, re.MULTILINE)
    assert rows == [str(number) for number in range(1, 13)]


def functions(path: Path) -> set[str]:
    if not path.exists():
        return set()
    tree = ast.parse(path.read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
