"""Erasures against uploads, undeletes, holds and collectors, one statement or store call at a time.

What was erased never comes back, what was not reads back at every moment, and every count is exact,
although operators and collectors crash on the way.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from mediastore_gc.erasing import erase_now
from mediastore_gc.progress import Progress

from mediastore.catalog.erasing import Scope
from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_tenant
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.clock import SystemClock
from mediastore.collector_errors import Held
from mediastore.errors import NotFound
from mediastore.settings import CatalogSettings
from tests.collection_world import TENANT, MovedClock, World
from tests.counts_exact import assert_counts_exact
from tests.recount_exact import assert_references_exact
from tests.simulation.stepping import (
    SteppedCatalog,
    SteppedStore,
    Stepper,
    crash_now_and_then,
    run_until_done,
    step_recounts,
)
from tests.simulation.test_verbs_vs_collection import SEEDS, Verbs


@dataclass
class Erasures(Verbs):
    """`asked`: what somebody has begun to erase; only a hold that was quicker saves it."""

    asked: dict[UUID, bytes] = field(default_factory=dict)
    erased: set[UUID] = field(default_factory=set)

    async def eraser(self) -> None:
        await crash_now_and_then(self.stepper, self.stop, self._erase_one)

    async def _erase_one(self) -> None:
        await self.stepper.pause()
        known = {**self.asked, **self.gone, **self.world.files}
        if not known:
            return
        id_ = self.stepper.choice.choice(sorted(known))
        self.asked[id_] = known[id_]
        was_live = self.world.files.pop(id_, None) is not None
        self.gone.pop(id_, None)
        try:
            erasure = await erase_now(
                self.catalog,
                self.store,
                self.world.clock,
                Scope(TENANT, None, id_),
                "case 9",
                skew_max_seconds=1e9,
                progress=Progress(),
            )
        except Held:
            del self.asked[id_]
            (self.world.files if was_live else self.gone)[id_] = known[id_]
            self.made["refused"] += 1
            return
        if erasure.removed_at is not None:
            self.erased.add(id_)
            del self.asked[id_]
            self.made["erased"] += 1

    async def undelete(self, undeleter: Any, id_: UUID) -> None:
        with contextlib.suppress(NotFound):  # erased meanwhile
            await super().undelete(undeleter, id_)

    async def between(self) -> None:
        await super().between()
        back = await self.world.sql.fetchval(
            "SELECT count(*) FROM objects WHERE id = ANY ($1)", sorted(self.erased)
        )
        assert back == 0, "what was erased is back"


@pytest.fixture(params=range(SEEDS))
async def erasures(
    request: pytest.FixtureRequest,
    dsn: str,
    connection: "asyncpg.Connection[Any]",
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Erasures]:
    stepper = Stepper(request.param + 1000)
    step_recounts(monkeypatch, stepper)
    clock = MovedClock(connection)
    await clock.install()
    store = MemoryChunkStore()
    async with open_catalog(CatalogSettings(dsn=dsn), SystemClock()) as catalog:
        await create_tenant(catalog, TENANT, trash_seconds=2)
        world = World(catalog, store, clock, connection)
        stepped = SteppedCatalog(catalog, stepper)
        yield Erasures(world, stepper, stepped, SteppedStore(store, stepper), asyncio.Event())


async def test_what_was_erased_never_comes_back_and_nothing_else_goes(erasures: Erasures) -> None:
    acting = [asyncio.create_task(erasures.user()), asyncio.create_task(erasures.operator())]
    others = [asyncio.create_task(erasures.collect()), asyncio.create_task(erasures.collect())]
    others.append(asyncio.create_task(erasures.eraser()))
    others.append(asyncio.create_task(erasures.time()))
    await run_until_done(erasures.stepper, erasures.stop, acting, others, erasures.between)
    await erasures.world.assert_files_read_back()
    await assert_references_exact(erasures.world.sql)
    await assert_counts_exact(erasures.world.sql)
    assert erasures.made["erased"] > 0, "a simulation in which nothing is erased shows nothing"
    unfinished = await erasures.world.sql.fetchval("SELECT count(*) FROM erasures")
    assert unfinished >= erasures.made["erased"]
