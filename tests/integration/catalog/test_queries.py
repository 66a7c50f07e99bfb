"""Named queries: the parser, that Postgres takes every one, and that none is unused or missing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mediastore.catalog.queries import load_queries, parse_queries

ROOT = Path(__file__).parents[3]
CODE = [ROOT / "mediastore", ROOT / "gc" / "mediastore_gc"]
TAKES_A_NAME = {"fetch", "fetch_row", "fetch_value", "execute", "statement"}
NAME = re.compile(r"[a-z][a-z0-9_]*")


def test_comments_and_the_last_semicolon_are_dropped() -> None:
    text = """\
-- a file's comment
-- name: first
-- why
SELECT 1
  -- inside
  + 1;

-- name: second
SELECT 2
"""
    assert parse_queries(text) == {"first": "SELECT 1\n  + 1", "second": "SELECT 2"}


def test_a_file_without_queries_has_none() -> None:
    assert parse_queries("") == {}
    assert parse_queries("-- nothing here\n") == {}


@pytest.mark.parametrize(
    "text",
    [
        "-- name: twice\nSELECT 1;\n-- name: twice\nSELECT 2;",
        "-- name: empty\n-- name: other\nSELECT 1;",
        "-- name: only_comments\n-- SELECT 1;\n",
        "-- name: semicolon\n;\n",
    ],
)
def test_repeated_and_empty_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="empty or named twice"):
        parse_queries(text)


def test_a_semicolon_inside_a_statement_stays() -> None:
    assert parse_queries("-- name: q\nSELECT ';'\nFROM t;") == {"q": "SELECT ';'\nFROM t"}


async def test_postgres_takes_every_query(connection: "asyncpg.Connection[Any]") -> None:
    refused = {}
    for name, statement in load_queries().items():
        try:
            await connection.prepare(statement)
        except asyncpg.PostgresError as error:
            refused[name] = str(error)
    assert refused == {}


def test_every_name_that_code_uses_exists() -> None:
    missing = {
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path, line, name in names_asked_for()
        if name not in load_queries()
    }
    assert missing == set()


def test_every_query_is_used() -> None:
    texts, endings = texts_in_code()
    made = {text + ending for text in texts for ending in endings}
    assert set(load_queries()) - texts - made == set()


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for folder in CODE:
        for path in sorted(folder.rglob("*.py")):
            yield path, ast.parse(path.read_text())


def names_asked_for() -> Iterator[tuple[Path, int, str]]:
    """Literal first arguments of the catalog's methods that look like a name, not like SQL."""
    for path, tree in trees():
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=method), args=[ast.Constant(value=str() as name), *_]
                ) if method in TAKES_A_NAME and NAME.fullmatch(name):
                    yield path, node.lineno, name


def texts_in_code() -> tuple[set[str], set[str]]:
    """Every literal text, and every literal end of an f-string: `f"{query}_of_owner"`."""
    texts: set[str] = set()
    endings: set[str] = set()
    for _, tree in trees():
        for node in ast.walk(tree):
            match node:
                case ast.Constant(value=str() as text):
                    texts.add(text)
                case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str() as end)]):
                    endings.add(end)
    return texts, endings
