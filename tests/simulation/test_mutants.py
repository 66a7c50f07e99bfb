"""Without a guard some seed is red, and soon: so the seeds could have failed."""

import pytest

from mediastore.errors import MediastoreError
from tests.conftest import DatabaseServer
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.scenes import Seed
from tests.simulation.worlds import live

SEEDS_MAX = 60  # the rarest, `clocks`, shows once in some thirty


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_without_a_guard_a_seed_is_red(mutant: Mutant, database_server: DatabaseServer) -> None:
    for number in sorted(range(SEEDS_MAX), key=lambda number: number != mutant.seed):
        name = database_server.create()
        try:
            live(Seed(mutant.scene, number), database_server.dsn(name), mutant=mutant)
        except (AssertionError, MediastoreError):
            return
        finally:
            database_server.drop(name)
    pytest.fail(f"{SEEDS_MAX} seeds went well without {mutant.name}")
