"""Collectors, and what comes over a world: crashes, clocks that leap, counts that are wrong."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from mediastore_gc.collector import Collector
from mediastore_gc.safety import CollectionDelays

from mediastore.catalog.collection import release_references
from mediastore.clock import Clock
from mediastore.collector_errors import CollectorRefused
from mediastore.errors import MediastoreError, Unavailable
from mediastore.settings import CollectionSettings
from tests.simulation.processes import Process, Unreachable
from tests.simulation.simulation import Replica, Simulation

TRASH_SECONDS = 5
DELAYS = CollectionDelays(
    revive_seconds=4,
    recovery_window_seconds=120,
    recovery_margin_seconds=50,
    clock_skew_max_seconds=20,
    unsafe=True,
)
BATCH_KEYS = 2
ALL_BYTES = 1 << 40
RELEASED_ENTRIES = 1000
# Rows that are counted wrong: chunks', often of one that is still on its way, and now and then a
# blob's, which is put aside from then on.
MISCOUNTED = (*[("chunks", "true"), ("chunks", "NOT stored")] * 2, ("blobs", "true"))
LEAPS_SECONDS = (2, 15, -15, 90, -90, 900, -900, 900, -900)


def collector(
    simulation: Simulation,
    worker: str,
    *,
    clock: Clock | None = None,
    share_max: float | None = None,
) -> Collector:
    """A new one, by default with a clock of its own."""
    clock = clock or simulation.process_clock()
    share = simulation.scene.delete_share_max if share_max is None else share_max
    floor = 0 if share < 1 else ALL_BYTES
    return Collector(
        simulation.catalog,
        simulation.retrying_store(clock),
        CollectionSettings(
            claim_timeout_seconds=60,
            batch_keys=BATCH_KEYS,
            batch_entries=5,
            delete_share_max=share,
            delete_share_floor_bytes=floor,
        ),
        DELAYS,
        clock,
        worker=worker,
        stop=asyncio.Event(),
    )


async def collect(simulation: Simulation, name: str) -> None:
    """Runs and recounts, one behind the other; some of them die at a step of their own."""
    while not simulation.closing:
        process = Process(name, simulation.failed)
        asked = asyncio.create_task(process.ask(_some_work(simulation, name)))
        if simulation.scene.crashes and simulation.stepper.chance(0.25):
            await simulation.stepper.pauses(1, 60)
            process.kill()
            simulation.crashes += 1
        await asyncio.wait([asked])
        try:
            asked.result()
        except (CollectorRefused, Unavailable, Unreachable) as error:
            simulation.refused(error)
        except MediastoreError as error:
            simulation.refused(error)
            if not simulation.scene.miscount:
                raise
        await simulation.stepper.pauses(1, 6)


async def _some_work(simulation: Simulation, name: str) -> None:
    worker = collector(simulation, name)
    if simulation.stepper.chance(0.1):
        await worker.recount()
    else:
        await worker.execute(await worker.plan())


async def crash_replicas(simulation: Simulation) -> None:
    """Each is replaced by a new one, which knows nothing."""
    while not simulation.closing:
        await simulation.stepper.pauses(8, 25)
        number = simulation.choice.randrange(len(simulation.replicas))
        dying = simulation.replicas[number]
        simulation.stepper.say(f"kills {dying.process.name}")
        simulation.replicas[number] = Replica(dying.process.name, simulation)
        dying.process.kill()


async def move_clock(simulation: Simulation) -> None:
    """The database's clock leaps, forward or back, and is put right again."""
    while not simulation.closing:
        await simulation.stepper.pauses(5, 12)
        await _leap(simulation, simulation.choice.choice(LEAPS_SECONDS))
        await simulation.stepper.pauses(10, 40)
        await _leap(simulation, 0)


async def _leap(simulation: Simulation, seconds: float) -> None:
    async with simulation.stepper.turn(f"puts the database's clock {seconds} s off"):
        simulation.clock.database_off_seconds = seconds
        await simulation.clock.follow()


async def miscount(simulation: Simulation) -> None:
    """The planted bug: now and then a chunk's or a blob's references are counted wrong. Rows that
    somebody holds are left alone.
    """
    by = simulation.scene.miscount
    while not simulation.closing:
        await simulation.stepper.pauses(1, 6)
        if simulation.scene.released_twice:
            await _release_once_more(simulation)
            continue
        table, which = simulation.choice.choice(MISCOUNTED)
        among = simulation.choice.randrange(1000)
        async with simulation.stepper.turn(f"miscounts one of {table}"):
            await simulation.sql.execute(
                f"UPDATE {table} SET refs = refs + $1 WHERE hash = (SELECT hash FROM {table}"
                f" WHERE refs + $1 > 0 AND {which} ORDER BY hash OFFSET $2 %"
                f" (SELECT greatest(1, count(*)) FROM {table} WHERE refs + $1 > 0 AND {which})"
                " LIMIT 1 FOR UPDATE SKIP LOCKED)",
                by,
                among,
            )


async def _release_once_more(simulation: Simulation) -> None:
    """All references to a chunk, often to one that is still on its way: its row goes, while those
    who have it or bring it count on that.
    """
    which = simulation.choice.choice(("NOT stored", "NOT stored", "stored"))
    among = simulation.choice.randrange(1000)
    async with simulation.stepper.turn("releases a chunk once more"):
        await simulation.sql.execute(
            "INSERT INTO unlinking (entries, since)"
            " SELECT decode(repeat(encode(hash || int8send(size), 'hex'), refs::integer), 'hex'),"
            f" catalog_clock() FROM chunks WHERE {which} ORDER BY hash OFFSET $1 %"
            f" (SELECT greatest(1, count(*)) FROM chunks WHERE {which}) LIMIT 1",
            among,
        )
    _ = await release_references(simulation.catalog, RELEASED_ENTRIES)


def others(simulation: Simulation) -> dict[str, Coroutine[Any, Any, None]]:
    """Who acts, by name, beside clients and operators."""
    acting = {f"collector {n}": collect(simulation, f"collector {n}") for n in range(2)}
    if simulation.scene.crashes:
        acting["fate"] = crash_replicas(simulation)
    if simulation.scene.leaps:
        acting["clock"] = move_clock(simulation)
    if simulation.scene.miscount:
        acting["bug"] = miscount(simulation)
    return acting
