"""Named queries: sql/*.sql holds them as `-- name: NAME` and a statement; this reads them."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$", re.MULTILINE)


def parse_queries(text: str) -> dict[str, str]:
    """Statements by name. Raises ValueError on a name given twice or a name without a statement."""
    parts = _NAME.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        statement = "\n".join(
            line
            for line in body.splitlines()
            if line.strip() and not line.lstrip().startswith("--")
        ).rstrip("; \n")
        if name in queries or not statement:
            raise ValueError(f"query {name!r} is empty or named twice")
        queries[name] = statement
    return queries


@cache
def load_queries(package: str = "mediastore.catalog") -> dict[str, str]:
    """Every named query of a package's sql folder."""
    queries: dict[str, str] = {}
    for file in sorted(files(package).joinpath("sql").iterdir(), key=lambda item: item.name):
        if file.name.endswith(".sql"):
            for name, statement in parse_queries(file.read_text(encoding="utf-8")).items():
                if name in queries:
                    raise ValueError(f"query {name!r} is named twice")
                queries[name] = statement
    return queries
