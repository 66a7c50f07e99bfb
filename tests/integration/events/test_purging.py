"""Purges reach every CDN at least once, and twice where all is well, whatever others do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import pytest

from mediastore.catalog.pool import Catalog
from mediastore.catalog.purges import (
    ClaimedPurge,
    cdn_standings,
    claim_purges,
    list_purges,
    purges_failed,
    purges_sent,
    retry_purges,
    want_purges,
)
from mediastore.clock import SystemClock
from mediastore.events.cdn.protocol import PurgeFailed
from mediastore.events.cdn.purge_metrics import PurgeMetrics
from mediastore.events.purging import PurgeWatch, Purging
from mediastore.settings import EventsSettings, PurgeSettings
from mediastore.telemetry.metrics import Metrics
from tests.integration.events.conftest import HASTY
from tests.integration.service import until

HASTY_PURGES = {"requests_per_second": 1000, "again_seconds": 0.001}
A = "blob-a"


class FakeCdn:
    """Keeps what it is told; `problem`, while there is one, is what it says instead."""

    tags_max = 3

    def __init__(self, name: str = "fastly") -> None:
        self.name = name
        self.calls: list[tuple[str, ...]] = []
        self.soft: list[str] = []
        self.hard: list[str] = []
        self.problem: PurgeFailed | None = None

    async def purge(self, tags: Sequence[str], *, hard: bool) -> None:
        self.calls.append(tuple(tags))
        if self.problem is not None:
            raise self.problem
        (self.hard if hard else self.soft).extend(tags)


class Running:
    """The purging of one CDN, as a process does it."""

    def __init__(self, catalog: Catalog, cdn: FakeCdn, **settings: object) -> None:
        self.metrics = Metrics.create()
        counts = PurgeMetrics(self.metrics.registry, [cdn.name])
        events = EventsSettings.model_validate(HASTY | settings)
        purge = PurgeSettings.model_validate(HASTY_PURGES)
        clock = SystemClock()
        purging = Purging(catalog, cdn, purge, events, clock, counts)
        watch = PurgeWatch(catalog, clock, counts)
        self._tasks = [asyncio.create_task(purging.run()), asyncio.create_task(watch.run())]

    def sample(self, name: str, **labels: str) -> float | None:
        labels.setdefault("cdn", "fastly")
        return self.metrics.registry.get_sample_value(f"mediastore_cdn_purges{name}", labels)

    def counted(self, outcome: str) -> float | None:
        return self.sample("_total", outcome=outcome)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(catalog: Catalog) -> AsyncIterator[Start]:
    """Start purging a CDN; keywords are settings of `events`."""
    started: list[Running] = []

    async def starter(cdn: FakeCdn, **settings: object) -> Running:
        await want_purges(catalog, cdn.name)
        started.append(Running(catalog, cdn, **settings))
        return started[-1]

    yield starter
    for running in started:
        await running.stop()


async def record(catalog: Catalog, *tags: str) -> None:
    """Purges, as functions of the catalog record them."""
    async with catalog.connection() as connection:
        for tag in tags:
            await connection.execute("SELECT purge_record_v1($1)", tag)


def none_waits(sql: asyncpg.Connection) -> Callable[[], Awaitable[bool]]:
    async def none() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 0 FROM purges"))

    return none


def parked(sql: asyncpg.Connection, number: int) -> Callable[[], Awaitable[bool]]:
    async def so_many() -> bool:
        found = await sql.fetchval("SELECT count(*) FROM purges WHERE parked_at IS NOT NULL")
        return bool(found == number)

    return so_many


async def test_each_goes_out_twice_the_second_time_hard(
    catalog: Catalog, sql: asyncpg.Connection, start: Start
) -> None:
    cdn = FakeCdn()
    running = await start(cdn)
    tags = [f"blob-{n}" for n in range(8)]
    await record(catalog, *tags)
    await until(none_waits(sql))
    assert sorted(cdn.soft) == sorted(cdn.hard) == sorted(tags)
    assert max(len(call) for call in cdn.calls) <= cdn.tags_max
    assert running.counted("sent") == 16


async def test_the_second_one_comes_after_its_time(catalog: Catalog) -> None:
    await want_purges(catalog, "fastly")
    await record(catalog, A)
    first = await claim(catalog)
    await purges_sent(catalog, first, again=False, again_seconds=3600)
    assert await claim(catalog) == []
    (waiting,) = await list_purges(catalog, cdn=None, parked=False, limit=10)
    assert waiting.again
    pause = waiting.retry_at - waiting.created_at
    assert 3500 < pause.total_seconds() < 3700
    await record(catalog, "blob-b")
    (second,) = await claim(catalog)
    await purges_sent(catalog, [second], again=False, again_seconds=0)
    (left,) = await list_purges(catalog, cdn=None, parked=False, limit=10)
    assert left.tag == A  # with no second purge wanted the first one ends it


async def test_equal_tags_are_said_once(
    catalog: Catalog, sql: asyncpg.Connection, start: Start
) -> None:
    await want_purges(catalog, "fastly")
    await record(catalog, A, A, A)
    cdn = FakeCdn()
    await start(cdn)
    await until(none_waits(sql))
    assert (cdn.soft, cdn.hard) == ([A], [A])


async def test_what_failed_is_tried_again_and_then_parked_until_somebody_asks(
    catalog: Catalog, sql: asyncpg.Connection, start: Start
) -> None:
    cdn = FakeCdn()
    cdn.problem = PurgeFailed("it answered 500")
    running = await start(cdn, attempts_max=3)
    await record(catalog, A, "blob-b")
    await until(parked(sql, 2))
    assert (running.counted("failed"), running.counted("parked")) == (4, 2)
    (first, _) = await list_purges(catalog, cdn="fastly", parked=True, limit=10)
    assert (first.attempts, first.last_error) == (3, "it answered 500")
    assert await list_purges(catalog, cdn="webhook", parked=True, limit=10) == []

    cdn.problem = None
    assert await retry_purges(catalog, cdn="webhook") == 0
    assert await retry_purges(catalog, cdn=None) == 2
    await until(none_waits(sql))
    assert sorted(cdn.hard) == [A, "blob-b"]


async def test_a_cdn_that_is_down_holds_up_no_other(
    catalog: Catalog, sql: asyncpg.Connection, start: Start
) -> None:
    down, well = FakeCdn("fastly"), FakeCdn("webhook")
    down.problem = PurgeFailed("no answer in time", retry_after_seconds=3600)
    await start(down, retry_delay_max_seconds=3600)
    await start(well)
    await record(catalog, A, "blob-b")
    await until(lambda: len(well.hard) == 2)
    standings = {standing.cdn: standing for standing in await cdn_standings(catalog)}
    assert standings["webhook"].waiting == 0
    assert standings["fastly"].waiting == 2


async def test_a_cdn_that_asks_for_time_is_called_by_nobody(
    catalog: Catalog, sql: asyncpg.Connection, start: Start
) -> None:
    """Not for what is new either, and not by another process."""
    cdn, other = FakeCdn(), FakeCdn()
    cdn.problem = PurgeFailed("it answered 429", retry_after_seconds=3600)
    running = await start(cdn, retry_delay_max_seconds=3600)
    await record(catalog, A)
    await until(lambda: running.counted("failed") == 1)
    await record(catalog, "blob-b")
    assert await claim(catalog) == []
    await start(other)
    (standing,) = await cdn_standings(catalog)
    assert standing.next_call_at is not None
    await sql.execute("UPDATE cdns SET next_call_at = catalog_clock()")
    await until(lambda: "blob-b" in cdn.soft + other.soft or len(cdn.calls) > 1)
    assert (await list_purges(catalog, cdn=None, parked=False, limit=1))[0].tag == A


async def test_all_processes_together_call_no_faster_than_they_may(catalog: Catalog) -> None:
    await want_purges(catalog, "fastly")
    await want_purges(catalog, "webhook")
    await record(catalog, *(f"blob-{n}" for n in range(10)))
    assert len(await claim(catalog, limit=2, pause_seconds=3600)) == 2
    assert await claim(catalog, limit=2, pause_seconds=3600) == []
    assert len(await claim(catalog, "webhook", limit=2, pause_seconds=3600)) == 2


async def test_processes_that_claim_at_once_share(catalog: Catalog) -> None:
    await want_purges(catalog, "fastly")
    await record(catalog, *(f"blob-{n}" for n in range(40)))
    claimed = await asyncio.gather(*(claim(catalog, limit=4) for _ in range(8)))
    ids = [purge.id for purges in claimed for purge in purges]
    assert len(ids) == len(set(ids))
    paced = await asyncio.gather(*(claim(catalog, limit=1, pause_seconds=60) for _ in range(8)))
    assert sum(map(len, paced)) == 1


async def test_claims_of_a_process_that_died_come_back(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    await want_purges(catalog, "fastly")
    await record(catalog, A)
    (dead,) = await claim(catalog)
    assert await claim(catalog) == []
    await sql.execute("UPDATE purges SET retry_at = catalog_clock()")  # the claim's time is over
    (living,) = await claim(catalog)
    assert (living.id, living.attempts) == (dead.id, dead.attempts + 1)
    # Its failure is nobody's business any more; that the CDN has taken the purge is so in any case.
    assert await fail(catalog, dead) == 0
    assert await sql.fetchval("SELECT last_error FROM purges") is None
    await purges_sent(catalog, [dead], again=False, again_seconds=0.001)
    await purges_sent(catalog, [living], again=False, again_seconds=0.001)
    assert await sql.fetchval("SELECT again FROM purges")
    await sql.execute("UPDATE purges SET retry_at = catalog_clock()")
    (second,) = await claim(catalog)
    assert second.again
    await purges_sent(catalog, [living], again=False, again_seconds=0.001)
    assert await sql.fetchval("SELECT count(*) FROM purges") == 1  # the second one is still owed
    await purges_sent(catalog, [second], again=True, again_seconds=0.001)
    assert await sql.fetchval("SELECT count(*) FROM purges") == 0


async def test_what_has_been_due_for_longer_goes_first(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    await want_purges(catalog, "fastly")
    await record(catalog, A, "blob-b", "blob-c")
    await sql.execute(
        "UPDATE purges SET again = true, retry_at = retry_at - interval '1 minute' WHERE tag = $1",
        A,
    )
    assert [purge.tag for purge in await claim(catalog)] == [A]
    assert [purge.tag for purge in await claim(catalog)] == ["blob-b", "blob-c"]


async def test_the_metrics_say_what_waits(
    catalog: Catalog, sql: asyncpg.Connection, start: Start
) -> None:
    await want_purges(catalog, "fastly")
    await record(catalog, A, "blob-b", "blob-c")
    await sql.execute("UPDATE purges SET retry_at = catalog_clock() + interval '1 hour'")
    await sql.execute(
        "UPDATE purges SET created_at = created_at - interval '50s' WHERE tag = $1", A
    )
    await sql.execute("UPDATE purges SET parked_at = catalog_clock() WHERE tag = 'blob-c'")
    await want_purges(catalog, "gone")  # the settings of this process do not name it
    running = await start(FakeCdn())
    await until(lambda: running.sample("_waiting") == 2)
    assert running.sample("_parked") == 1
    assert 50 <= (running.sample("_oldest_unsent_seconds") or 0) < 500
    assert running.sample("_waiting", cdn="gone") is None
    names = [standing.cdn for standing in await cdn_standings(catalog)]
    assert names == ["fastly", "gone"]


async def claim(
    catalog: Catalog, cdn: str = "fastly", *, limit: int = 10, pause_seconds: float = 0
) -> list[ClaimedPurge]:
    return await claim_purges(
        catalog, cdn, limit=limit, pause_seconds=pause_seconds, claim_seconds=600
    )


async def fail(catalog: Catalog, purge: ClaimedPurge) -> int:
    return await purges_failed(
        catalog,
        "fastly",
        [purge],
        seconds=[1.0],
        attempts_max=1,
        quiet_seconds=0,
        why="late",
    )
