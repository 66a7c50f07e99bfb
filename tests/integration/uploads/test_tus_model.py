"""Random valid and invalid requests of several clients through two replicas, beside a model of tus:
server and model never disagree.
"""

import asyncpg
import pytest

from tests.integration.uploads.conftest import Starter
from tests.integration.uploads.model_machine import TusClients, World, never_disagree, two_replicas

SEEN = {
    *(("POST", status) for status in (201, 400, 413, 460)),
    *(("PATCH", status) for status in (204, 400, 404, 409, 413, 460)),
    ("HEAD", 200),
    ("DELETE", 204),
}


@pytest.fixture
async def world(start: Starter, sql: asyncpg.Connection) -> World:
    return await two_replicas(start, sql)


@pytest.mark.timeout(600)
def test_server_and_model_never_disagree(world: World) -> None:
    never_disagree(TusClients, world, SEEN)
