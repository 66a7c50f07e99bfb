"""The models of docs/model hold, and each of their guards is needed.

A model is searched whole. Without one of its guards a counterexample must be found; so must one at
each limit, which no guard covers and operators are told of; and so must whatever good thing the
model would be empty without.
"""

import re
import shutil
from pathlib import Path

import pytest

from tests.model.spin import MODELS, PROGRAMS, model_names, search, variants

needs_spin = pytest.mark.full
pytestmark = pytest.mark.timeout(900)
STATES_MIN = 100_000  # fewer, and a model has lost what it was about
GUARDS = [(model, name) for model in model_names() for name in variants(model)]


@needs_spin
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_checks_the_models_is_there(program: str) -> None:
    assert shutil.which(program), f"{program} is missing; .ci/install installs it"


@needs_spin
@pytest.mark.parametrize("model", model_names())
def test_a_model_holds_in_every_state(model: str, tmp_path: Path) -> None:
    found = search(model, tmp_path)
    assert found.errors == 0, found.report
    assert found.complete, found.report
    assert found.states >= STATES_MIN, found.report


@needs_spin
@pytest.mark.parametrize(("model", "variant"), GUARDS)
def test_a_model_that_is_changed_fails(model: str, variant: str, tmp_path: Path) -> None:
    found = search(model, tmp_path, variant)
    assert found.errors == 1, found.report
    assert "assertion violated" in found.report, found.report
    assert list(tmp_path.glob("*.trail")), "a counterexample can be replayed"


@pytest.mark.parametrize(("model", "variant"), GUARDS)
def test_the_page_explains_every_guard(model: str, variant: str) -> None:
    page = (MODELS / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {model}\.pml\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None, "a section for each model"
    assert f"`{variant}`" in section[0]
