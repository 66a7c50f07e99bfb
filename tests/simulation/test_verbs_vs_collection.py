"""Holds and undelete against collectors, one statement and one store call at a time.

A user stores and deletes; an operator holds, lets go and undeletes; two collectors run and crash;
time passes. What an operator brought back, and what was held all along, must read back at every
moment; kept counts and references are exact after every step.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from mediastore_gc.collector import Collector
from mediastore_gc.progress import Progress
from mediastore_gc.safety import CollectionDelays
from mediastore_gc.undeleting import Undeleter

from mediastore.catalog.holds import add_hold, remove_hold
from mediastore.catalog.objects import trash_object
from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_tenant
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.clock import SystemClock
from mediastore.errors import MediastoreError
from mediastore.settings import CatalogSettings, ChunkingSettings, CollectionSettings
from tests.collection_world import TENANT, MovedClock, World, noise, store_file
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

SEEDS = int(os.environ.get("MEDIASTORE_SIMULATION_SEEDS", "4"))
STEPS = 2000
DELAYS = CollectionDelays(
    revive_seconds=2,
    recovery_window_seconds=8,
    recovery_margin_seconds=1,
    clock_skew_max_seconds=1e9,
    unsafe=True,
)
BLOCKS = [noise(n, 80) for n in range(10)]


@dataclass
class Verbs:
    """One seed's world. `gone`: what was deleted, and what it was."""

    world: World
    stepper: Stepper
    catalog: SteppedCatalog
    store: Any
    stop: asyncio.Event
    gone: dict[UUID, bytes] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)

    async def user(self) -> None:
        while self.stepper.steps < STEPS:
            chunks = self.stepper.choice.choices(BLOCKS, k=self.stepper.choice.randint(1, 3))
            with contextlib.suppress(MediastoreError):
                made = await store_file(self.catalog, self.store, chunks)
                self.world.files[made.id] = b"".join(chunks)
            while len(self.world.files) > 2:
                id_ = self.stepper.choice.choice(sorted(self.world.files))
                self.gone[id_] = self.world.files.pop(id_)
                await trash_object(self.catalog, TENANT, id_)

    async def operator(self) -> None:
        """Undeletes what was deleted, under a hold or not; what came back must stay."""
        undeleter = Undeleter(self.catalog, self.store, ChunkingSettings(), Progress())
        while self.stepper.steps < STEPS:
            await self.stepper.pause()
            if not self.gone:
                continue
            id_ = self.stepper.choice.choice(await self.removed() or sorted(self.gone))
            try:
                if self.stepper.choice.random() < 0.5:
                    await self.held_for_a_while(undeleter, id_)
                else:
                    await self.undelete(undeleter, id_)
            except MediastoreError as error:
                self.made[error.code] += 1
                if error.code in ("internal", "invariant_broken"):
                    raise

    async def removed(self) -> list[UUID]:
        """More often than not, something that can come back by copying alone."""
        if self.stepper.choice.random() < 0.3:
            return []
        rows = await self.stepper.call(
            lambda: self.world.sql.fetch(
                "SELECT p.id FROM purged_objects AS p JOIN tombstones AS t ON t.blob = p.blob"
                " WHERE NOT EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = p.blob) ORDER BY p.id"
            )
        )
        return [row["id"] for row in rows if row["id"] in self.gone]

    async def undelete(self, undeleter: Undeleter, id_: UUID) -> None:
        (found,) = await undeleter.look(id_)
        await undeleter.bring_back(found)
        self.made[found.stage] += 1
        if id_ in self.gone:  # else the other operator was as quick
            self.world.files[id_] = self.gone.pop(id_)

    async def held_for_a_while(self, undeleter: Undeleter, id_: UUID) -> None:
        """What is held and not claimed can be undeleted however much time has passed."""
        added = await add_hold(self.catalog, tenant=None, owner=None, object_=id_, why="case 7")
        try:
            (found,) = await undeleter.look(id_)
            if added.claimed or found.gone:
                return
            for _ in range(self.stepper.choice.randint(0, 60)):
                await self.stepper.pause()
            (found,) = await undeleter.look(id_)
            assert not found.gone, "held, and yet it went"
            await self.undelete(undeleter, id_)
            self.made["held"] += 1
        finally:
            await remove_hold(self.catalog, added.hold)

    async def collect(self) -> None:
        await crash_now_and_then(self.stepper, self.stop, self._pass)

    async def _pass(self) -> None:
        collector = Collector(
            self.catalog,
            self.store,
            CollectionSettings(claim_timeout_seconds=60, batch_keys=2, batch_entries=5),
            DELAYS,
            self.world.clock,
            worker="simulated",
            stop=asyncio.Event(),
        )
        await collector.execute(await collector.plan())

    async def time(self) -> None:
        while not self.stop.is_set():
            await self.stepper.call(
                lambda: self.world.clock.advance(self.stepper.choice.randint(1, 6))
            )
            for _ in range(self.stepper.choice.randint(0, 12)):
                await self.stepper.pause()

    async def between(self) -> None:
        if self.stepper.steps % 10 == 0:
            await self.world.assert_files_read_back()
            await assert_references_exact(self.world.sql)
            await assert_counts_exact(self.world.sql)


@pytest.fixture(params=range(SEEDS))
async def verbs(
    request: pytest.FixtureRequest,
    dsn: str,
    connection: "asyncpg.Connection[Any]",
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Verbs]:
    stepper = Stepper(request.param)
    step_recounts(monkeypatch, stepper)
    clock = MovedClock(connection)
    await clock.install()
    store = MemoryChunkStore()
    async with open_catalog(CatalogSettings(dsn=dsn), SystemClock()) as catalog:
        await create_tenant(catalog, TENANT, trash_seconds=2)
        world = World(catalog, store, clock, connection)
        stepped = SteppedCatalog(catalog, stepper)
        yield Verbs(world, stepper, stepped, SteppedStore(store, stepper), asyncio.Event())


async def test_what_an_operator_keeps_or_brings_back_stays(verbs: Verbs) -> None:
    acting = [asyncio.create_task(verbs.user())]
    acting += [asyncio.create_task(verbs.operator()) for _ in range(2)]
    others = [asyncio.create_task(verbs.collect()), asyncio.create_task(verbs.collect())]
    others.append(asyncio.create_task(verbs.time()))
    await run_until_done(verbs.stepper, verbs.stop, acting, others, verbs.between)
    await verbs.world.assert_files_read_back()
    await assert_references_exact(verbs.world.sql)
    await assert_counts_exact(verbs.world.sql)
    assert verbs.made["doomed"] > 0, "a simulation in which nothing is copied back shows nothing"
