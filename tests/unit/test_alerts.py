"""The alert rules name metrics that exist, are documented, and fire when they should."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from mediastore_gc.collection_metrics import BRAKES
from mediastore_gc.plan import DUE_STAGES, STAGES

ROOT = Path(__file__).parents[2]
RULES = ROOT / "config" / "alerts" / "collector.yaml"
TESTS = ROOT / "tests" / "alerts" / "collector_test.yaml"
METRIC = re.compile(r"\bmediastore_[a-z_]+")


def test_every_metric_that_a_rule_names_is_documented() -> None:
    documented = set(METRIC.findall((ROOT / "docs" / "metrics.md").read_text()))
    named = set(METRIC.findall(RULES.read_text()))
    assert len(named) >= 8
    assert named <= documented


def test_every_stage_and_brake_that_a_rule_names_exists() -> None:
    text = RULES.read_text()
    stages = re.findall(r'\{stage[!=~]+"([a-z_|]+)"', text)
    assert {name for found in stages for name in found.split("|")} <= {*STAGES, *DUE_STAGES}
    brakes = re.findall(r'\{code[!=~]+"([a-z_|]+)"', text)
    assert {name for found in brakes for name in found.split("|")} <= set(BRAKES)


def test_every_alert_is_tested_and_explained() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    tests, page = TESTS.read_text(), (ROOT / "docs" / "collection.md").read_text()
    for alert in alerts:
        assert tests.count(alert) >= 2, f"{alert}: a test where it is silent, one where it fires"
        assert f"`{alert}`" in page


@pytest.mark.full
@pytest.mark.parametrize(
    "arguments", [("check", "rules", str(RULES)), ("test", "rules", str(TESTS))]
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    program = shutil.which("promtool")
    assert program is not None, ".ci/install installs it"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
