"""A seed's world from its beginning to its end: put together, lived in, left and cleaned up."""

import asyncio
import gc
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest
from mediastore_gc import erasing

from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_tenant
from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.clock import SystemClock
from mediastore.errors import MediastoreError
from mediastore.hooks.posting import open_poster
from mediastore.settings import Settings, load_settings
from tests.collection_world import TENANT
from tests.simulation.clients import Client
from tests.simulation.clocks import TrueClock
from tests.simulation.collectors import DELAYS, TRASH_SECONDS, collector, others
from tests.simulation.erasers import Eraser
from tests.simulation.loop import SteppedLoop
from tests.simulation.mutants import Mutant
from tests.simulation.operators import Operator
from tests.simulation.processes import tasks_belong_to_processes
from tests.simulation.promises import Promises
from tests.simulation.scenes import SCENES, Scene, Seed
from tests.simulation.simulation import Simulation
from tests.simulation.stepped_catalog import CatalogFaults, SteppedCatalog, step_recounts
from tests.simulation.stepped_store import SeededFaults, SteppedStore
from tests.simulation.stepping import Stepper, as_actor
from tests.simulation.transactions import Transactions

HOUR_SECONDS = 3600
LAST_PASSES = 14


@dataclass(frozen=True, slots=True)
class Lived:
    """What a run has come to. `trace` has a line for each step."""

    trace: list[str]
    made_by: Counter[str]
    errors: Counter[str]
    deleted_keys: int


def live(
    seed: Seed, dsn: str, *, scene: Scene | None = None, mutant: Mutant | None = None
) -> Lived:
    """Live through a seed's world in an empty, migrated database. Raises what is not true in it;
    the seed is told with it.
    """
    loop = SteppedLoop()
    stepper = Stepper(hash_of(seed))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(_live(scene or SCENES[seed.scene], stepper, dsn, mutant))
        except BaseException as error:
            error.add_note(f"seed {seed}, step {stepper.steps}; again: make soak WORLD={seed}")
            error.add_note("\n".join(["the last steps:", *stepper.trace[-40:]]))
            raise
        finally:
            gc.collect()  # while its loop is there


def hash_of(seed: Seed) -> int:
    """Each scene has seeds of its own."""
    return sorted(SCENES).index(seed.scene) * 1_000_000_007 + seed.number


async def _live(scene: Scene, stepper: Stepper, dsn: str, mutant: Mutant | None) -> Lived:
    tasks_belong_to_processes(asyncio.get_running_loop())
    with pytest.MonkeyPatch.context() as patch:
        drawn = random.Random(stepper.seed)
        patch.setattr(secrets, "randbits", drawn.getrandbits)
        patch.setattr(erasing, "uuid4", lambda: UUID(int=drawn.getrandbits(128)))
        random.seed(stepper.seed)
        async with _simulation(scene, stepper, dsn, patch) as simulation:
            if mutant is not None:
                await mutant.install(simulation.sql, patch)
            await _run(simulation)
            await _leave(simulation)
            deleted = await simulation.sql.fetchval(
                "SELECT coalesce(sum((counts ->> 'deleted_keys')::bigint), 0) FROM gc_runs"
            )
            return Lived(stepper.trace, simulation.made_by, simulation.errors, deleted)


def _settings(dsn: str) -> Settings:
    settings = load_settings(
        None,
        catalog={
            "dsn": dsn,
            "pool_size_min": 0,
            "pool_size_max": 60,
            "lock_timeout_seconds": 3600,
            "statement_timeout_seconds": 3600,
        },
        chunking={"size_min_bytes": 64, "size_average_bytes": 512, "size_max_bytes": 1024},
        uploads={
            "expires_seconds": 120,
            "batches_at_once_max": 3,
            "finishing_wait_seconds": 0,
            "fragments_max": 16,
            "rechunk_fragments_min": 2,
            "rechunk_below_share": 0.25,
        },
    )
    # Smaller than the setting may be, so that the batches of these small files overlap.
    uploads = settings.uploads.model_copy(update={"batch_max_bytes": 500})
    return settings.model_copy(update={"uploads": uploads})


@asynccontextmanager
async def _simulation(
    scene: Scene, stepper: Stepper, dsn: str, patch: pytest.MonkeyPatch
) -> AsyncIterator[Simulation]:
    settings = _settings(dsn)
    # Without timers of their own: how often `watch` is asked depends on how fast the machine is.
    sql, watch = [await asyncpg.connect(dsn, max_cached_statement_lifetime=0) for _ in range(2)]
    clock = TrueClock(sql, stepper.loop)
    await clock.install()
    await _no_autovacuum(sql)
    stepper.advance = lambda _: clock.follow()
    memory = MemoryChunkStore()
    async with open_catalog(settings.catalog, clock) as plain, open_poster(SystemClock()) as poster:
        await create_tenant(plain, TENANT, trash_seconds=TRASH_SECONDS)
        transactions = Transactions(plain._pool, watch, stepper)
        catalog = SteppedCatalog(plain, clock, transactions, stepper, scene.catalog)
        step_recounts(patch, catalog, stepper)
        store = SteppedStore(SeededFaults(memory, stepper, scene.store), stepper)
        promises = Promises(DELAYS.recovery_window_seconds, miscounted=scene.miscount != 0)
        simulation = Simulation(
            scene, stepper, settings, clock, plain, sql, catalog, memory, store, poster, promises
        )
        simulation.start_replicas()
        try:
            yield simulation
        finally:
            for replica in simulation.replicas:
                replica.process.kill()
            await stepper.end()
            plain._pool.terminate()
            sql.terminate()
            watch.terminate()


async def _no_autovacuum(sql: "asyncpg.Connection") -> None:
    """Where rows lie decides which of equal ones comes first."""
    tables = await sql.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    for table in tables:
        await sql.execute(f"ALTER TABLE {table['relname']} SET (autovacuum_enabled = false)")


async def _run(simulation: Simulation) -> None:
    """Everybody acts until there were as many steps as the scene has; then they end."""
    acting = {f"client {n}": Client(simulation).run() for n in range(simulation.scene.clients)}
    acting |= {
        f"operator {n}": Operator(simulation).run() for n in range(simulation.scene.operators)
    }
    acting |= {f"eraser {n}": Eraser(simulation).run() for n in range(simulation.scene.erasers)}
    acting |= others(simulation)
    tasks = [asyncio.create_task(as_actor(name, work)) for name, work in acting.items()]

    async def between() -> None:
        simulation.closing = simulation.stepper.steps >= simulation.scene.steps
        await simulation.between()

    await simulation.stepper.run(tasks, between)
    await simulation.check()
    if simulation.scene.delete_share_max < 1:
        simulation.check_brake()


async def _leave(simulation: Simulation) -> None:
    """With everybody gone, what nobody needs is given back, and nothing else."""
    simulation.catalog.faults = CatalogFaults(split=0)
    simulation.stepper.time_share = 0
    simulation.store.heal()
    simulation.clock.database_off_seconds = 0
    simulation.promises.held.clear()
    await simulation.sql.execute("DELETE FROM holds")
    for _ in range(LAST_PASSES):
        await simulation.clock.advance(6 * HOUR_SECONDS)
        last = asyncio.create_task(as_actor("last collector", _collect(simulation)))
        await simulation.stepper.run([last], simulation.between)
    await simulation.check()
    if not simulation.scene.miscount:
        picture = await simulation.picture()
        assert not picture.doomed, "what nobody needs is still there"
        rows = {chunk_key(hash_, row["generation"]) for hash_, row in picture.chunks.items()}
        keys = {
            entry.key async for page in simulation.memory.list(prefix="chunks/") for entry in page
        }
        assert keys - rows <= simulation.store.late, "keys without a row"


async def _collect(simulation: Simulation) -> None:
    last = collector(simulation, "last", clock=simulation.clock, share_max=1.0)
    try:
        await last.execute(await last.plan())
    except MediastoreError:
        if not simulation.scene.miscount:
            raise
