"""The models beside the service can fail: without any one of these rules they disagree with it.

A copy of the service is broken, and its model run as it always is, with no more examples: a rule
that is gone must show in the requests that every run makes.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.uploads.breakages import BREAKAGES, Breakage

ROOT = Path(__file__).parents[3]
COPIED = ("mediastore", "gc", "tests")
TIMEOUT_SECONDS = 900
of_each_breakage = pytest.mark.parametrize("breakage", BREAKAGES, ids=str)


@of_each_breakage
def test_every_edit_fits_the_code(breakage: Breakage) -> None:
    for edit in breakage.edits:
        assert (ROOT / edit.file).read_text(encoding="utf-8").count(edit.old) == 1, edit


@pytest.mark.full
@pytest.mark.timeout(TIMEOUT_SECONDS)
@of_each_breakage
def test_the_model_notices_that_a_rule_is_gone(breakage: Breakage, tmp_path: Path) -> None:
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for edit in breakage.edits:
        path = tmp_path / edit.file
        path.write_text(path.read_text(encoding="utf-8").replace(edit.old, edit.new), "utf-8")
    model = f"tests/integration/uploads/{breakage.model}"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", model],
        cwd=tmp_path,
        env={
            name: value for name, value in os.environ.items() if name != "MEDIASTORE_MODEL_EXAMPLES"
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout + ran.stderr
    assert "model_answers.Disagreement: " in ran.stdout, ran.stdout
