"""docs/performance.md: every bench owns what stands between its two markers, and nothing else.

A section begins `<!-- bench:NAME -->` and ends `<!-- /bench:NAME -->`; a bench that runs again
replaces it. The machine is described by what matters to the numbers, never by its name or paths.
"""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

PERFORMANCE = Path(__file__).parent.parent / "docs" / "performance.md"
GIB = 1024**3
_INTRO = """# Performance

What was measured, with the command that measured it. Ratios within a table were taken in one run on
one machine and can be relied on; absolute times differ from machine to machine and are only for
scale.
"""


def write_section(name: str, body: str, path: Path = PERFORMANCE) -> None:
    """Put `body` between the markers of `name`, at the end of the file if they are not there yet.

    Raises ValueError when the file has them more than once or only one of them.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else _INTRO
    opening, closing = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    section = f"{opening}\n{body.strip()}\n{closing}"
    if (text.count(opening), text.count(closing)) == (0, 0):
        text = f"{text.rstrip()}\n\n{section}\n"
    elif (text.count(opening), text.count(closing)) == (1, 1):
        found = re.compile(re.escape(opening) + ".*" + re.escape(closing), re.DOTALL)
        text, replaced = found.subn(lambda _: section, text)
        if replaced != 1:
            raise ValueError(f"the markers of {name} in {path.name} are in the wrong order")
    else:
        raise ValueError(f"{path.name} does not have exactly one pair of markers of {name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers, aligned right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine() -> str:
    """Cores, memory, system and Python, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB memory, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}"
    )
