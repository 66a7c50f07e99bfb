"""Content that is uploaded again while it is being collected survives every interleaving.

Uploaders, a user who deletes, collectors that crash and time that passes take turns at every SQL
statement and every store call. All the while every acknowledged object reads back, and at the end a
count of every reference is exact. $MEDIASTORE_SIMULATION_SEEDS runs more than the default.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from mediastore_gc.collector import Collector
from mediastore_gc.safety import CollectionDelays

from mediastore.access.policies import Policies
from mediastore.catalog.objects import Object, trash_object
from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_tenant
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.clock import SystemClock
from mediastore.errors import MediastoreError, NotFound
from mediastore.hooks.posting import open_poster
from mediastore.memory import MemoryBudget
from mediastore.settings import Settings, load_settings
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.admission import AdmittedDraft
from mediastore.uploads.assembly import assemble
from mediastore.uploads.service import Uploads
from mediastore.uploads.standing import Standing
from tests.collection_world import TENANT, MovedClock, World, draft, noise
from tests.recount_exact import assert_references_exact
from tests.simulation.stepping import (
    SteppedCatalog,
    SteppedStore,
    Stepper,
    crash_now_and_then,
    run_until_done,
    step_recounts,
)

SEEDS = int(os.environ.get("MEDIASTORE_SIMULATION_SEEDS", "8"))
STEPS = 1500
PIECE = 512
TRASH, REVIVE, WINDOW = 2, 3, 5
DELAYS = CollectionDelays(
    revive_seconds=REVIVE,
    recovery_window_seconds=WINDOW,
    recovery_margin_seconds=1,
    clock_skew_max_seconds=1e9,
    unsafe=True,
)
# Few blocks, so that files share chunks and the same chunks come back again and again.
BLOCKS = [noise(n, 700) for n in range(3)]


@dataclass
class Simulation:
    """One seed's world: `world` acts at once, `uploads` and collectors act by steps."""

    world: World
    stepper: Stepper
    settings: Settings
    uploads: Uploads
    stop: asyncio.Event
    made: Counter[str] = field(default_factory=Counter)

    @property
    def choice(self) -> random.Random:
        return self.stepper.choice

    async def upload(self) -> None:
        """One file, in one way or another; an upload that fails was not promised."""
        content = b"".join(self.choice.choices(BLOCKS, k=self.choice.randint(1, 4)))
        way = self.choice.choice((self._received, self._joined, self._fragmented))
        with contextlib.suppress(MediastoreError):
            made = await way(content)
            self.made[way.__name__] += made is not None
            if made is not None:
                self.world.files[made.id] = content

    async def _received(self, content: bytes) -> Object | None:
        planned = await self.uploads.admit(draft(len(content)), client=None)
        if self.choice.random() < 0.5:
            standing = await self.uploads.receive_new(planned, body(content), ends_with_body=False)
            return standing.object
        standing = await self.uploads.begin(planned)
        cut = self.choice.randrange(len(content))
        for part in (content[:cut], content[cut:]):
            standing = await self.uploads.take(TENANT, planned.id)
            if standing.upload is None:
                raise NotFound
            standing = await self.uploads.append(standing.upload, body(part))
        return standing.object

    async def _joined(self, content: bytes) -> Object | None:
        """From parts, of which the last one may end before or after the final is made."""
        cut = self.choice.randrange(len(content))
        pieces = [content[:cut], content[cut:]]
        parts = [await self._admitted(len(piece), concat="partial") for piece in pieces]
        for part in parts:
            await self.uploads.begin(part)
        await self._append(parts[0].id, pieces[0])
        early = self.choice.random() < 0.5
        planned = draft(None)
        ids = [part.id for part in parts]
        if early:
            await self.uploads.concatenate(planned, ids, "final;", client=None)
        await self._append(parts[1].id, pieces[1])
        if self.choice.random() < 0.2:
            await self.uploads.terminate(TENANT, self.choice.choice((*ids, planned.id)))
        _, standing = await self.uploads.concatenate(planned, ids, "final;", client=None)
        return await self._finished(standing)

    async def _fragmented(self, content: bytes) -> Object | None:
        """In pieces so small that they are put together, at the end or on the way."""
        planned = await self._admitted(len(content))
        standing = await self.uploads.begin(planned)
        size = -(-len(content) // self.choice.randint(5, 24))
        for at in range(0, len(content), size):
            standing = await self._append(planned.id, content[at : at + size])
        return await self._finished(standing)

    async def _admitted(self, length: int | None, concat: str | None = None) -> AdmittedDraft:
        return await self.uploads.admit(replace(draft(length), concat=concat), client=None)

    async def _append(self, id_: UUID, piece: bytes) -> Standing:
        standing = await self.uploads.take(TENANT, id_)
        if standing.upload is None or not piece:
            return standing
        return await self.uploads.append(standing.upload, body(piece))

    async def _finished(self, standing: Standing) -> Object | None:
        """What an upload has become whose job may still run."""
        while standing.object is None and standing.upload is not None:
            if standing.upload.state == "open":
                return None
            await self.stepper.pause()
            standing = await self.uploads.take(TENANT, standing.upload.id)
        return standing.object

    async def user(self) -> None:
        """Uploads and deletes; few objects are kept, so that chunks lose their last reference."""
        while self.stepper.steps < STEPS:
            await self.upload()
            while len(self.world.files) > self.choice.randint(0, 2):
                gone = self.choice.choice(sorted(self.world.files))
                self.world.files.pop(gone)
                await trash_object(self.uploads.parts.catalog, TENANT, gone)
            for _ in range(self.choice.randint(0, 20)):
                await self.stepper.pause()

    async def impatient_client(self) -> None:
        """Its uploads are cut off at any step; what they left expires."""
        while self.stepper.steps < STEPS:
            task = asyncio.create_task(self.upload())
            for _ in range(self.choice.randint(1, 12)):
                await self.stepper.pause()
            task.cancel()
            await asyncio.wait([task])

    async def collect(self, *, crashes: bool) -> None:
        """Passes until told to stop."""
        if crashes:
            await crash_now_and_then(self.stepper, self.stop, self._pass)
        while not self.stop.is_set():
            await self._pass()
            await self.stepper.pause()

    async def _pass(self) -> None:
        collector = self.collector(SteppedStore(self.world.store, self.stepper))
        await collector.execute(await collector.plan())

    def collector(self, store: Any) -> Collector:
        return Collector(
            self.uploads.parts.catalog,
            store,
            self.settings.collection,
            DELAYS,
            self.world.clock,
            worker="simulated",
            stop=asyncio.Event(),
        )

    async def time(self) -> None:
        while not self.stop.is_set():
            await self.stepper.call(lambda: self.world.clock.advance(self.choice.randint(1, 15)))
            for _ in range(self.choice.randint(0, 8)):
                await self.stepper.pause()

    async def between(self) -> None:
        if self.stepper.steps % 20 == 0:
            await self.world.assert_files_read_back()
            await assert_references_exact(self.world.sql)

    async def run(self) -> None:
        users = [asyncio.create_task(self.user()) for _ in range(2)]
        users.append(asyncio.create_task(self.impatient_client()))
        others = [
            asyncio.create_task(self.collect(crashes=True)),
            asyncio.create_task(self.collect(crashes=False)),
            asyncio.create_task(self.time()),
        ]
        await run_until_done(self.stepper, self.stop, users, others, self.between)


def body(content: bytes) -> StreamReader:
    loop = asyncio.get_running_loop()
    stream = StreamReader(BaseProtocol(loop), 1 << 16, loop=loop)
    for start in range(0, len(content), PIECE):
        stream.feed_data(content[start : start + PIECE])
    stream.feed_eof()
    return stream


@pytest.fixture(params=range(SEEDS))
async def simulation(
    request: pytest.FixtureRequest,
    dsn: str,
    connection: "asyncpg.Connection[Any]",
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Simulation]:
    settings = load_settings(
        None,
        catalog={"dsn": dsn},
        chunking={"size_min_bytes": 64, "size_average_bytes": 512, "size_max_bytes": 1024},
        uploads={
            "expires_seconds": 60,
            "batches_at_once_max": 3,
            "finishing_wait_seconds": 0,
            "fragments_max": 16,
            "rechunk_fragments_min": 2,
            "rechunk_below_share": 0.25,
        },
        collection={"claim_timeout_seconds": 60, "batch_keys": 2, "batch_entries": 5},
    )
    # Smaller than the setting may be, so that the batches of these small files overlap.
    uploads = settings.uploads.model_copy(update={"batch_max_bytes": 500})
    settings = settings.model_copy(update={"uploads": uploads})
    stepper = Stepper(request.param)
    step_recounts(monkeypatch, stepper)
    clock = MovedClock(connection)
    await clock.install()
    store = MemoryChunkStore()
    async with (
        open_catalog(settings.catalog, SystemClock()) as catalog,
        open_poster(SystemClock()) as poster,
    ):
        await create_tenant(catalog, TENANT, trash_seconds=TRASH)
        stepped, metrics = SteppedCatalog(catalog, stepper), Metrics.create()
        stepped_store, memory = SteppedStore(store, stepper), MemoryBudget(1 << 30)
        parts = assemble(
            settings,
            SystemClock(),
            stepped,
            stepped_store,
            memory,
            metrics,
            policies=Policies(catalog, SystemClock()),
            poster=poster,
        )
        world = World(catalog, store, clock, connection)
        yield Simulation(world, stepper, settings, Uploads(parts), asyncio.Event())


async def test_what_is_uploaded_while_it_is_collected_survives(simulation: Simulation) -> None:
    world = simulation.world
    await simulation.run()
    await world.assert_files_read_back()
    await assert_references_exact(world.sql)
    deleted = await world.sql.fetchval(
        "SELECT coalesce(sum((counts ->> 'deleted_keys')::bigint), 0) FROM gc_runs"
    )
    assert deleted > 0, "a simulation in which nothing is collected shows nothing"
    assert simulation.made["_joined"] + simulation.made["_fragmented"] > 0

    # With everybody gone, everything that nobody needs is given back, and nothing else.
    for _ in range(8):
        await world.clock.advance(3600)
        collector = simulation.collector(world.store)
        collector._catalog = world.catalog
        await simulation.stepper.run([asyncio.create_task(_collect(collector))], simulation.between)
    await world.assert_files_read_back()
    await assert_references_exact(world.sql)
    assert await world.count("doomed") == 0
    assert len(await world.keys()) == await world.count("chunks")


async def _collect(collector: Collector) -> None:
    await collector.execute(await collector.plan())
