"""Seeded worlds: everything at once, one statement and one store call at a time.

Whatever happens, what was promised holds (promises.py). $MEDIASTORE_SIMULATION_SEEDS runs more
seeds of each scene than the default; `make soak` runs new ones.
"""

import os

import pytest

from tests.simulation.mutants import UNCOUNTED_REFERENCES
from tests.simulation.scenes import SCENES, Seed
from tests.simulation.worlds import live

SEEDS = int(os.environ.get("MEDIASTORE_SIMULATION_SEEDS", "2"))
# How objects came about, of which every seed of a scene together must have seen some.
WAYS = ("whole", "resumable", "joined", "asked for")


@pytest.mark.parametrize("number", range(SEEDS))
@pytest.mark.parametrize("scene", SCENES)
def test_what_was_promised_holds(scene: str, number: int, dsn: str) -> None:
    lived = live(Seed(scene, number), dsn)
    assert any(lived.made_by[way] for way in WAYS), "a world in which nothing is made shows nothing"
    assert lived.deleted_keys > 0, "a world in which nothing is collected shows nothing"
    if scene == "erasures":
        assert lived.made_by["erased"] > 0, "a world in which nothing is erased shows nothing"
    if scene == "verbs":
        assert lived.made_by["held"] > 0, "a world in which nothing is held shows nothing"


def test_a_bug_that_counts_no_second_reference_costs_no_byte(dsn: str) -> None:
    live(Seed("lows", 0), dsn, mutant=UNCOUNTED_REFERENCES)
