"""The same seed takes the same steps: so what a seed has found can be looked at."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import DatabaseServer
from tests.simulation.scenes import SCENES, Seed
from tests.simulation.worlds import live

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("scene", ["storm", "verbs"])
def test_the_same_seed_takes_the_same_steps(scene: str, database_server: DatabaseServer) -> None:
    seed, short = Seed(scene, 0), replace(SCENES[scene], steps=600)
    traces = []
    for _ in range(2):
        name = database_server.create()
        traces.append(live(seed, database_server.dsn(name), scene=short).trace)
        database_server.drop(name)
    assert len(traces[0]) > 600
    assert traces[0] == traces[1]


def test_another_process_takes_the_same_steps(database_server: DatabaseServer) -> None:
    """Where sets are in another order, and everything was imported anew."""
    traces = []
    for hash_seed in ("1", "2"):
        command = (sys.executable, "-m", "tests.simulation.soak", "verbs-1")
        ran = subprocess.run(
            command,
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'gc'}",
                "PYTHONHASHSEED": hash_seed,
                "MEDIASTORE_TEST_POSTGRES": database_server.dsn("postgres"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        traces.append(ran.stdout)
    assert "PUT" in traces[0]
    assert traces[0] == traces[1]


def test_what_is_red_says_its_seed_and_its_last_steps(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise AssertionError("as a test would")

    monkeypatch.setattr("tests.simulation.promises.Promises.check", fails)
    with pytest.raises(AssertionError) as raised:
        live(Seed("uploads", 3), dsn)
    assert "make soak WORLD=uploads-3" in raised.value.__notes__[0]
    assert "the last steps:" in raised.value.__notes__[1]


def test_what_is_red_says_nothing_else(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody dies in the middle of something, and nobody is left to ask how they ended."""
    checks = itertools.count()

    async def fails(*_: object) -> None:
        assert next(checks) < 20

    monkeypatch.setattr("tests.simulation.promises.Promises.check", fails)
    with pytest.raises(AssertionError):
        live(Seed("verbs", 3), dsn)
    assert [record for record in caplog.records if record.name == "asyncio"] == []
