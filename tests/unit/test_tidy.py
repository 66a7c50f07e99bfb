"""The code base's own rules, as a test: what a reviewer would have to say again and again."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediastore.errors import every_error
from mediastore.settings import load_settings

ROOT = Path(__file__).parents[2]
PRODUCTION = sorted([*(ROOT / "mediastore").rglob("*.py"), *(ROOT / "gc").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MODULE_LINES_MAX = 300
# Modules that may be longer, each with its length today: they may shrink, not grow. Keep it empty.
LONG_MODULES: dict[str, int] = {}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}
# A call, and what to use instead.
BANNED_CALLS = {
    "time.time": "Clock.now()",
    "time.monotonic": "Clock.monotonic()",
    "time.perf_counter": "Clock.monotonic()",
    "time.sleep": "Clock.sleep()",
    "datetime.now": "Clock.now()",
    "datetime.utcnow": "Clock.now()",
    "asyncio.sleep": "Clock.sleep()",
    "pickle.loads": "a format that runs no code",
    "zlib.crc32": "content.checksum.crc32()",
}
CLOCK = ROOT / "mediastore" / "clock.py"
PRINTING = {
    ROOT / "mediastore" / "cli.py",
    *(ROOT / "mediastore" / "commands").glob("*.py"),
    ROOT / "mediastore" / "local" / "development.py",
    ROOT / "gc" / "mediastore_gc" / "cli.py",
    *(ROOT / "gc" / "mediastore_gc" / "commands").glob("*.py"),
}
# Where the code is worked on and where packages come from is nobody's business here.
MACHINE_PLACES = re.compile(
    r"(?<![\w.$}/])/(?:root|work|home|tmp/\w)(?![\w.-])"
    r"|registry\.(?:npmjs|yarnpkg)|pypi\.org|pythonhosted|proxy\.golang|sum\.golang|deb\.debian"
)
FOLDERS = (
    ".ci",
    "bench",
    "config",
    "docs",
    "gc",
    "helm",
    "mediastore",
    "requirements",
    "tests",
)
MADE = {".git", "node_modules", "__pycache__", "results"}  # .git is a file in a worktree
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the repository, without what tools and runs have made."""
    below = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    for path in [*ROOT.iterdir(), *below]:
        if MADE.isdisjoint(path.relative_to(ROOT).parts) and path.is_file():
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


@pytest.fixture(params=PRODUCTION, ids=named)
def module(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_a_module_is_short_documented_and_says_what_it_is(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    lines_max = LONG_MODULES.get(named(module), MODULE_LINES_MAX)
    assert len(text.splitlines()) <= lines_max, "split it: one reason to change"
    assert ast.get_docstring(ast.parse(text)), "say what the module owns"
    assert module.stem not in VAGUE_NAMES
    assert module.parent.name not in VAGUE_NAMES


def test_a_module_calls_nothing_that_is_banned(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    found = []
    for line, call in calls(tree):
        for banned, instead in BANNED_CALLS.items():
            if (call == banned or call.endswith(f".{banned}")) and module != CLOCK:
                found.append(f"{named(module)}:{line}: {call}: use {instead}")
        if call == "print" and module not in PRINTING:
            found.append(f"{named(module)}:{line}: print: use structlog")
    assert not found


def test_a_guard_is_never_an_assert(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not lines, "python -O drops it: write `if …: raise`"


@pytest.mark.parametrize("path", [*PRODUCTION, *TESTS], ids=named)
def test_nothing_is_left_for_later(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [word for word in UNFINISHED if word in text]


def test_long_modules_are_still_long() -> None:
    for name, lines in LONG_MODULES.items():
        assert len((ROOT / name).read_text().splitlines()) == lines, "lower the ratchet"


def test_every_error_has_a_code_of_its_own_and_a_message() -> None:
    codes = [kind.code for kind in every_error()]
    assert len(codes) == len(set(codes))
    for kind in every_error():
        assert kind.__doc__, kind
        assert kind.message().endswith("."), kind


def test_every_reference_page_names_everything() -> None:
    errors = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert not [kind.code for kind in every_error() if f"`{kind.code}`" not in errors]


def test_the_example_configuration_loads_and_says_the_defaults() -> None:
    example = load_settings(ROOT / "config" / "mediastore.example.toml")
    assert example.chunk_store.driver == "s3"
    assert example.collection == load_settings().collection


def test_locks_name_no_download_address() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text, lock
        assert "index-url" not in text, lock


def test_no_file_names_a_place_of_the_machine_it_was_written_on_or_a_registry() -> None:
    found = [
        f"{named(path)}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        if path != Path(__file__)
        for number, line in enumerate(text.splitlines(), start=1)
        if MACHINE_PLACES.search(line)
    ]
    assert not found


def anchors(text: str) -> set[str]:
    """What `#…` may name in a page: GitHub's form of its headings."""
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))], ids=named
)
def test_a_page_links_to_what_is_there(page: Path) -> None:
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists():
            missing.append(link)
            continue
        if anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            missing.append(link)
    assert not missing
