"""Runs spin on the models of docs/model: translate, compile, search every state there is.

A search counts as complete only if its report says so: not cut off at a depth, not out of memory.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).parents[2] / "docs" / "model"
PROGRAMS = ("spin", "gcc")
MEMORY_MAX_MIB = 1500
DEPTH_MAX = 2000
SEARCH_TIMEOUT_SECONDS = 600
# Without a guard; at the edge of what guards cover; something good has happened.
VARIANT = re.compile(r"^#ifn?def ((?:WITHOUT|LIMIT|SEEN)_[A-Z_]+)$", re.MULTILINE)
_CUT_SHORT = ("max search depth too small", "Search not completed", "out of memory", "truncated")


@dataclass(frozen=True, slots=True)
class Search:
    """What a search of all states has found. `report` is the checker's own."""

    errors: int
    states: int
    report: str

    @property
    def complete(self) -> bool:
        return not any(sign in self.report for sign in _CUT_SHORT)


def model_names() -> list[str]:
    return sorted(path.stem for path in MODELS.glob("*.pml"))


def variants(model: str) -> list[str]:
    """Names that change the model when they are defined."""
    return sorted(set(VARIANT.findall((MODELS / f"{model}.pml").read_text(encoding="utf-8"))))


def search(model: str, folder: Path, *defines: str) -> Search:
    """Search all states of a model, in an empty folder."""
    source = MODELS / f"{model}.pml"
    _run(folder, "spin", "-a", *(f"-D{name}" for name in defines), str(source))
    options = ("-O2", "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MAX_MIB}")
    _run(folder, "gcc", *options, "-o", "pan", "pan.c")
    # -E: a process that waits for ever is no error, everybody may crash.
    report = _run(folder, "./pan", "-E", f"-m{DEPTH_MAX}")
    errors = re.search(r"errors: (\d+)", report)
    states = re.search(r"(\d+) states, stored", report)
    if errors is None or states is None:
        raise RuntimeError(f"the checker of {model} did not finish:\n{report}")
    return Search(int(errors[1]), int(states[1]), report)


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SEARCH_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0 and command[0] != "./pan":
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}")
    return done.stdout
