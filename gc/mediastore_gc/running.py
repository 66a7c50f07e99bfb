"""How passes follow each other: until nothing is left (`run --once`), or for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import structlog

from mediastore.clock import Clock
from mediastore.collector_errors import CollectorPaused
from mediastore.errors import MediastoreError, Unavailable
from mediastore_gc.collection_metrics import CollectionMetrics
from mediastore_gc.collector import Collector
from mediastore_gc.run_counts import RunCounts
from mediastore_gc.safety import CollectionDelays
from mediastore_gc.status import Status

log = structlog.get_logger(__name__)

PASSES_MAX = 1000
# With delays cut short for trying things out, one command waits this long for the next to end.
WAIT_MAX_SECONDS = 60.0
WAIT_STEP_SECONDS = 0.5


async def run_until_done(
    collector: Collector,
    delays: CollectionDelays,
    clock: Clock,
    *,
    stop: asyncio.Event,
    metrics: CollectionMetrics,
) -> RunCounts:
    """Passes until one finds nothing to do or gets nowhere; the sum of what they did.

    The limits of its budget hold for all of them together. With unsafe delays it waits for what
    becomes due within WAIT_MAX_SECONDS. Raises what the collector raises.
    """
    total = RunCounts()
    collector.renew_budget()
    for _ in range(PASSES_MAX):
        plan = await collector.plan()
        metrics.show(plan.stages)
        try:
            done = await collector.execute(plan)
        except MediastoreError as error:
            metrics.count_failure(error.code)
            raise
        finally:
            metrics.count(collector.counts)
        total = total.plus(**asdict(done))
        if stop.is_set():
            break
        if done.did_something:
            continue
        pause = plan.seconds_to_next if delays.unsafe else None
        if pause is None or pause > WAIT_MAX_SECONDS:
            break
        await clock.sleep(max(WAIT_STEP_SECONDS, pause))
    return total


async def run_repeatedly(
    collector: Collector,
    delays: CollectionDelays,
    clock: Clock,
    *,
    interval_seconds: float,
    stop: asyncio.Event,
    metrics: CollectionMetrics,
    look: Callable[[], Awaitable[Status]],
    report: Callable[[RunCounts], None],
) -> None:
    """Rounds at an interval until `stop` is set; the batch under way is finished first. Limits hold
    for each round, and each that ends well is reported. `look` is for the metrics, before each.

    A part that is down, or a pause, is waited out; every other refusal ends it.
    """
    metrics.succeeded(clock.now())
    while not stop.is_set():
        try:
            metrics.observe(await look())
            report(await run_until_done(collector, delays, clock, stop=stop, metrics=metrics))
            metrics.succeeded(clock.now())
        except (Unavailable, CollectorPaused) as error:
            log.warning("collection_put_off", code=error.code, why=error.detail)
        waking = asyncio.create_task(clock.sleep(interval_seconds))
        stopping = asyncio.create_task(stop.wait())
        _, pending = await asyncio.wait({waking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
