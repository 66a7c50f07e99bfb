"""What alert rules see: how long something has been due, brakes, retries, how audits ended."""

from collections.abc import Callable

import pytest
from mediastore_gc.audit_records import record_orphans, record_scrub, record_verify
from mediastore_gc.collection_metrics import CollectionMetrics
from mediastore_gc.findings import Kind
from mediastore_gc.orphans import KeysFound
from mediastore_gc.running import run_repeatedly
from mediastore_gc.safety import CollectionDelays
from mediastore_gc.scrub import Scrubbed
from mediastore_gc.status import Status, gather_status
from mediastore_gc.verify import Verified
from prometheus_client import CollectorRegistry

from mediastore.catalog.watching import AuditRecord, newest_audits, record_audit
from mediastore.settings import CollectionSettings
from tests.collection_world import DAY, TENANT, World, noise
from tests.faults import Fault, FaultyStore
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_stages import HOUR, WINDOW, doom, run

SETTINGS = CollectionSettings()
Value = Callable[..., float | None]


async def look(world: World) -> Status:
    return await gather_status(world.catalog, world.store, SETTINGS)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def value_of(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"mediastore_collection_{name}", labels)


async def test_a_paused_collector_tells_what_is_overdue_and_why(
    world: World, collector: MakeCollector, registry: CollectorRegistry
) -> None:
    metrics = CollectionMetrics(registry)
    await doom(world, collector, [noise("a")])
    metrics.observe(await look(world))
    assert value_of(registry, "oldest_due_seconds", stage="doomed_unrecounted") == 0
    assert value_of(registry, "brake", code="paused") == 0
    await world.clock.advance(WINDOW + 2 * DAY + HOUR)
    await world.catalog.execute("collector_pause", "moving house")

    worker = collector()
    rounds = 0

    async def looked() -> Status:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            worker._stop.set()
        return await look(world)

    began = world.clock.now().timestamp()
    await run_repeatedly(
        worker,
        CollectionDelays.from_settings(SETTINGS),
        world.clock,
        interval_seconds=1,
        stop=worker._stop,
        metrics=metrics,
        look=looked,
        report=lambda counts: pytest.fail("a paused round ends well"),
    )
    due = value_of(registry, "oldest_due_seconds", stage="doomed_unrecounted")
    assert due is not None
    assert due >= 2 * DAY
    assert value_of(registry, "oldest_due_seconds", stage="trash_due") == 0
    assert value_of(registry, "brake", code="paused") == 1
    assert value_of(registry, "brake", code="database_restored") == 0
    assert value_of(registry, "last_success_timestamp_seconds") == began


async def test_a_round_that_ends_well_says_so(
    world: World, collector: MakeCollector, registry: CollectorRegistry
) -> None:
    await doom(world, collector, [noise("a")])
    await world.clock.advance(WINDOW)
    worker = collector()
    reported = []

    def report(counts: object) -> None:
        reported.append(counts)
        worker._stop.set()

    await run_repeatedly(
        worker,
        CollectionDelays.from_settings(SETTINGS),
        world.clock,
        interval_seconds=1,
        stop=worker._stop,
        metrics=CollectionMetrics(registry),
        look=lambda: look(world),
        report=report,
    )
    assert len(reported) == 1
    assert value_of(registry, "deleted_keys_total") == 1
    ended = value_of(registry, "last_success_timestamp_seconds")
    assert ended is not None
    assert ended >= world.clock.now().timestamp() - 1


async def test_keys_that_the_store_refuses_for_long(
    world: World, collector: MakeCollector, registry: CollectorRegistry
) -> None:
    metrics = CollectionMetrics(registry)
    await doom(world, collector, [noise("a"), noise("b")])
    await world.clock.advance(WINDOW)
    assert isinstance(world.store, FaultyStore)
    world.store.always("delete_many", Fault(undeleted=frozenset(await world.keys())))
    for refusals in range(1, 6):
        await run(collector())
        retries = (await look(world)).retries
        assert (retries.keys, retries.attempts_max) == (2, refusals)
        metrics.observe(await look(world))
        assert value_of(registry, "retried_keys") == (2 if refusals == 5 else 0)
        await world.clock.advance(DAY)


async def test_how_audits_ended(world: World, registry: CollectorRegistry) -> None:
    metrics = CollectionMetrics(registry)
    found = Verified("")
    found.findings.add(Kind.KEY_MISSING, "k", "")
    found.findings.add(Kind.KEY_MISSING, "k", "", mended=True)
    found.findings.add(Kind.ORPHAN, "k", "")
    await record_verify(world.catalog, Verified("", resume="x"))
    await record_verify(world.catalog, found)
    await record_orphans(world.catalog, KeysFound(orphans=5, missing=2), doomed=3)
    scrubbed = Scrubbed(damaged=["a", "b"], missing=["c"], healed=["a"], resume="x")
    await record_scrub(world.catalog, scrubbed)
    now = world.clock.now()
    assert await newest_audits(world.catalog) == [
        AuditRecord("orphans", now, True, 2, 2),
        AuditRecord("scrub", now, False, 2, 0),
        AuditRecord("verify", now, True, 1, 1),
    ]
    metrics.observe(await look(world))
    assert value_of(registry, "audit_findings", audit="verify", severity="danger") == 1
    assert value_of(registry, "audit_findings", audit="orphans", severity="leak") == 2
    assert value_of(registry, "audit_ended_timestamp_seconds", audit="scrub") == now.timestamp()


async def test_old_audits_are_forgotten_but_the_last_of_each(
    world: World, collector: MakeCollector
) -> None:
    for _ in range(3):
        await record_audit(world.catalog, "verify", complete=True, dangers=0, leaks=0)
    await world.clock.advance(90 * DAY)
    await run(collector())
    assert await world.count("audits") == 1


async def test_an_erasure_that_takes_long(world: World, registry: CollectorRegistry) -> None:
    await world.sql.execute(
        "INSERT INTO erasures (id, tenant, why, asked_at)"
        " VALUES (gen_random_uuid(), $1, 'x', catalog_clock())",
        TENANT,
    )
    await world.clock.advance(3 * DAY)
    metrics = CollectionMetrics(registry)
    metrics.observe(await look(world))
    assert value_of(registry, "oldest_due_seconds", stage="erasures") == 3 * DAY
