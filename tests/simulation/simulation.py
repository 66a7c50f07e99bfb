"""One seed's world: a database, a store, replicas of the service that die, and what is promised.

Who acts in it is in clients.py, operators.py and collectors.py; worlds.py puts it together.
"""

import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from mediastore.access.policies import Policies
from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.chunkstore.retrying import RetryingChunkStore, RetryPolicy
from mediastore.clock import Clock
from mediastore.errors import Broken, MediastoreError
from mediastore.hooks.posting import Poster
from mediastore.memory import MemoryBudget
from mediastore.settings import Settings
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.assembly import assemble
from mediastore.uploads.service import Uploads
from tests.collection_world import START
from tests.counts_exact import assert_counts_exact
from tests.recount_exact import assert_references_exact
from tests.simulation.clocks import ProcessClock, TrueClock
from tests.simulation.picture import Picture, take_picture
from tests.simulation.processes import Process
from tests.simulation.promises import Promises
from tests.simulation.scenes import Scene
from tests.simulation.stepped_catalog import SteppedCatalog
from tests.simulation.stepped_store import SteppedStore
from tests.simulation.stepping import Stepper, as_actor

T = TypeVar("T")
REPLICAS = 2
CHECKED_EVERY_STEPS = 20
BATCHES_BYTES = 2 * 2 * 1024  # two collectors, two keys
RETRIES = RetryPolicy(attempts_max=3, delay_seconds=0.1, delay_max_seconds=1)


class Replica:
    """One process of the service."""

    def __init__(self, name: str, simulation: "Simulation") -> None:
        self.process = Process(name, simulation.failed)
        clock = simulation.process_clock()
        parts = assemble(
            simulation.settings,
            clock,
            simulation.catalog,
            simulation.retrying_store(clock),
            MemoryBudget(1 << 30),
            simulation.metrics,
            policies=Policies(simulation.catalog, clock),
            poster=simulation.poster,
        )
        self.uploads = Uploads(parts)
        for lasting in (parts.finisher.sweep, parts.joiner.sweep, parts.trust.keep_asking):
            _ = self.process.spawn(as_actor("sweep", lasting()))


@dataclass(eq=False)
class Simulation:
    """`plain` and `sql` are no part of the world: nothing fails there, and nobody waits."""

    scene: Scene
    stepper: Stepper
    settings: Settings
    clock: TrueClock
    plain: Catalog
    sql: "asyncpg.Connection[Any]"
    catalog: SteppedCatalog
    memory: MemoryChunkStore
    store: SteppedStore
    poster: Poster
    promises: Promises
    metrics: Metrics = field(default_factory=Metrics.create)
    made_by: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    closing: bool = False
    crashes: int = 0
    failure: BaseException | None = None
    replicas: list[Replica] = field(default_factory=list)
    _ids: int = 0

    @property
    def choice(self) -> random.Random:
        return self.stepper.choice

    # What it is made of

    def process_clock(self) -> Clock:
        """Now and then one that is off: a little, or so much that its host must not collect."""
        if not self.scene.leaps:
            return ProcessClock(self.clock)
        return ProcessClock(self.clock, self.choice.choice((0, 0, 0, 5, -5, 300, -300)))

    def retrying_store(self, clock: Clock) -> ChunkStore:
        jitter = random.Random(self.choice.random())
        return RetryingChunkStore(self.store, policy=RETRIES, clock=clock, jitter=jitter)

    def start_replicas(self) -> None:
        self.replicas = [Replica(f"replica {n}", self) for n in range(REPLICAS)]

    def next_id(self) -> UUID:
        self._ids += 1
        return UUID(int=self._ids)

    # Requests

    async def ask(self, request: Callable[[Uploads], Coroutine[Any, Any, T]]) -> T:
        """Of any replica. Raises Unreachable."""
        replica = self.choice.choice(self.replicas)
        return await replica.process.ask(request(replica.uploads))

    def refused(self, error: Exception) -> None:
        """Anybody may be refused anything, but nobody meets what must not be."""
        self.errors[getattr(error, "code", type(error).__name__)] += 1
        self.failed(error)

    def failed(self, error: BaseException) -> None:
        internal = isinstance(error, MediastoreError) and error.code == "internal"
        if (isinstance(error, Broken) and not self.scene.miscount) or internal:
            self.failure = self.failure or error

    # What clients were told

    async def picture(self) -> Picture:
        async with self.stepper.outside():
            return await take_picture(self.sql, self.memory)

    async def continued(self, id_: UUID, offset: int, content: bytes) -> bytes | None:
        """What an upload has, and `content` behind it. None: it has gone meanwhile."""
        picture = await self.picture()
        if id_ not in picture.uploads:
            return None
        committed = await picture.committed(id_, doomed=self.promises.miscounted)
        if committed is None and self.promises.miscounted:
            return None
        assert committed is not None, f"what upload {id_} has acknowledged is not there"
        assert len(committed) >= offset, f"the offset of upload {id_} has decreased"
        self.catalog.doubtful.discard(id_)
        return committed[:offset] + content[offset:]

    def acknowledged(self, upload: Upload, content: bytes, since: datetime) -> None:
        if upload.id not in self.catalog.doubtful:
            until = since + timedelta(seconds=upload.expires_seconds)
            if self.scene.leaps:  # a leap back, before its commit: it expires when it likes
                until = START
            self.promises.acknowledge(upload.id, content[: upload.offset], until)

    def made(self, made: Object, content: bytes, how: str) -> None:
        self.made_by[how] += 1
        self.promises.made(made.id, content)

    async def made_somehow(self, made: Object) -> None:
        """Its client has asked, and was not told which bytes: they must be an object's."""
        content = await (await self.picture()).object_content(
            made.id, doomed=self.promises.miscounted
        )
        if made.id in self.promises.known:
            return
        assert content is not None, f"object {made.id} was acknowledged, and is not there"
        self.made(made, content, "asked for")

    def lost(self, id_: UUID) -> None:
        """A client was told that there is no such upload."""
        if not self.promises.miscounted:
            self.promises.lost(id_, self.clock.database_latest)

    # What must be true

    async def between(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.stepper.steps % CHECKED_EVERY_STEPS == 0:
            await self.check()

    def check_brake(self) -> None:
        """No more went than the share of all bytes that ever were, and a batch of each."""
        allowed = self.scene.delete_share_max * self.store.put_bytes + BATCHES_BYTES
        assert self.store.deleted_bytes <= allowed, "more was deleted than the share that may be"

    async def check(self) -> None:
        picture = await take_picture(self.sql, self.memory)
        await self.promises.check(picture, self.clock.monotonic(), self.store.put_keys)
        if not self.scene.miscount:
            await assert_references_exact(self.sql)
            await assert_counts_exact(self.sql)
