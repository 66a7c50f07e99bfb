"""The whole of it under load: two services, two collectors, a real Postgres, and what goes wrong.

Collectors take everything as soon as it is deleted, so their races with uploads and reads are as
tight as they can be. A seed chooses what happens; how long it lasts is counted in requests.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import asyncpg

from mediastore.catalog.migrations import migrate
from mediastore.errors import CatalogUnavailable
from tests.acceptance.collector import CollectorProcess, Days
from tests.acceptance.conftest import SMALL_CHUNKS, servers_on
from tests.acceptance.keys import row_keys
from tests.acceptance.server import Server
from tests.acceptance.soak_users import Tally, User
from tests.acceptance.system_postgres import QUICK, SystemPostgres, asked, system_postgres
from tests.acceptance.test_life import NOW
from tests.acceptance.toxiproxy import Toxiproxy, toxiproxy
from tests.counts_exact import assert_counts_exact
from tests.recount_exact import assert_references_exact

T = TypeVar("T")
HowToEnd = Callable[[], None]
Fault = Callable[[], HowToEnd]
"""Begins to go wrong, and says how to end that."""

SEED = int(os.environ.get("MEDIASTORE_TEST_SEED", "1"))
ROUNDS = int(os.environ.get("MEDIASTORE_SOAK_ROUNDS", "0"))
USERS = 6
COLLECTION_POLLS_MAX = 200
DAY = 86_400
SETTINGS = {
    **SMALL_CHUNKS,
    "MEDIASTORE_CATALOG__ACQUIRE_TIMEOUT_SECONDS": "2",
    "MEDIASTORE_CATALOG__STATEMENT_TIMEOUT_SECONDS": "4",
    "MEDIASTORE_CHUNK_STORE__ATTEMPTS_MAX": "3",
    "MEDIASTORE_CHUNK_STORE__READ_TIMEOUT_SECONDS": "2",
    "MEDIASTORE_CHUNK_STORE__CONNECT_TIMEOUT_SECONDS": "1",
    "MEDIASTORE_MEMORY__CHUNK_CACHE_BYTES": "0",
}
# Stopped before it listened to signals; started while it could not reach what it needs.
ENDINGS = {0, -signal.SIGTERM, CatalogUnavailable.exit_code}
COLLECT = " ".join((*NOW, "--delete-share-max", "1"))


@dataclass(slots=True)
class Soak:
    """Everything that runs. `catalog` is on the services' way to Postgres."""

    postgres: SystemPostgres
    catalog: Toxiproxy
    servers: Sequence[Server]
    collectors: Sequence[CollectorProcess]
    days: Days
    config: Path
    random: Random
    tally: Tally = field(default_factory=Tally)
    users: list[User] = field(default_factory=list)

    # What goes wrong

    def all_is_well(self) -> HowToEnd:
        return lambda: None

    def kill_a_server(self) -> HowToEnd:
        server = self.random.choice(self.servers)
        server.kill()
        return server.start

    def kill_a_collector(self) -> HowToEnd:
        collector = self.random.choice(self.collectors)
        collector.kill()
        return collector.revive

    def crash_postgres(self) -> HowToEnd:
        self.postgres.stop("immediate")
        return self.postgres.start

    # Its course

    def run(
        self, faults: Sequence[Fault], victims: Sequence[Fault], *, rounds: int, patient: bool
    ) -> None:
        """Users at work, and in each round a fault, and a victim while it lasts. `patient` users
        put up with refusals and with connections that break.
        """
        clients = [server.client() for server in self.servers]
        self.users = [
            User(number, clients, Random(self.random.random()), self.tally, patient)
            for number in range(USERS)
        ]
        for collector in self.collectors:
            collector.start()
        threads = [threading.Thread(target=user.run) for user in self.users]
        for thread in threads:
            thread.start()
        try:
            turns = zip(_dealt(self.random, faults), _dealt(self.random, victims), strict=False)
            for _ in range(ROUNDS or rounds):
                self._go_through(*next(turns))
        finally:
            self.tally.is_over = True
            for thread in threads:
                thread.join(120)
        for user in self.users:
            if user.failure is not None:
                raise user.failure
        assert not any(thread.is_alive() for thread in threads), "a request was never answered"

    def _go_through(self, fault: Fault, victim: Fault) -> None:
        self._wait_for_a_collection()
        self.tally.wait_for_requests(self.random.randrange(200), 6)
        with ExitStack() as ends:
            ends.callback(self._revive_collectors)
            heal = fault()
            self.tally.wait_for_requests(self.random.randrange(60), 2)
            ends.callback(victim())
            self.tally.wait_for_requests(self.random.randrange(30), 1)
            heal()

    def _wait_for_a_collection(self) -> None:
        """A collector that is killed as soon as it has started does no harm to anybody."""
        _, _, before = self.ask(_collected)
        for _ in range(COLLECTION_POLLS_MAX):
            if self.ask(_collected)[2] > before:
                return
            threading.Event().wait(0.1)

    def _revive_collectors(self) -> None:
        for collector in self.collectors:
            collector.revive()

    # Its end

    def settle(self, keys: Callable[[], set[str]]) -> None:
        """Nothing that was acknowledged is lost, and what nobody needs is gone from the store."""
        for collector in self.collectors:
            collector.stop()
            assert set(collector.endings) <= ENDINGS, collector.log()
            assert "Traceback" not in collector.log(), collector.log()
        assert self.ask(_collected)[2] > 0, "nothing was deleted under load"
        self._check_objects()
        self.ask(assert_references_exact)
        self.ask(assert_counts_exact)
        # What was left half done expires, and is tried again, on another day.
        for day in (8, 16):
            self.days.move_to(day * DAY)
            self._collect()
            self.days.answer(f"{self._gc} orphans --delete --delete-share-max 1")
        self.days.move_to(24 * DAY)
        self._collect()
        self._check_objects()
        assert keys() == self.ask(row_keys)
        assert self.days.answer(f"{self._gc} verify")["findings"]["met"] == {}
        for user in self.users:
            user.delete_kept()
        self._collect()
        assert keys() == set(), "nobody needs any of it"
        self.ask(assert_references_exact)
        self.ask(assert_counts_exact)

    def summary(self) -> str:
        """As quay#6318 tells of its soak."""
        rounds, removed, deleted = self.ask(_collected)
        said = ", ".join(f"{count} {what}" for what, count in sorted(self.tally.counts.items()))
        return f"{said}; {rounds} collections, {removed} blobs and {deleted} keys deleted"

    def ask(self, work: "Callable[[asyncpg.Connection[Any]], Any]") -> Any:
        return asked(self.postgres.dsn(), work)

    def _check_objects(self) -> None:
        """Exactly what the users know of is there, and all of it reads back."""
        kept = {id_ for user in self.users for id_ in user.kept}
        assert self.ask(_live_objects) == kept
        for user in self.users:
            user.check_kept()

    def _collect(self) -> None:
        self.days.answer(f"{self._gc} run --once --delete {COLLECT}")

    @property
    def _gc(self) -> str:
        return f"mediastore-gc --config {self.config}"


@contextmanager
def soak(folder: Path, seed: int, **store: str | bool) -> Iterator[Soak]:
    """Everything but the users and the collectors runs; the store is there."""
    with ExitStack() as stack:
        postgres = stack.enter_context(system_postgres(folder / "postgres", **QUICK))
        way = folder / "catalog"
        way.mkdir()
        catalog = stack.enter_context(toxiproxy(way, postgres.port))
        asyncio.run(migrate(postgres.dsn()))
        days = Days(postgres.dsn(), folder / "bin")
        days.install()
        dsn = postgres.dsn(catalog.port)
        make = stack.enter_context(servers_on(dsn, folder, **store))
        servers = [make(**SETTINGS), make(**SETTINGS)]
        for server in servers:
            server.start()
        config = folder / "mediastore.toml"
        collectors = [
            CollectorProcess(
                config, folder / f"collector{number}", ("--every", "1", *COLLECT.split())
            )
            for number in range(2)
        ]
        for collector in collectors:
            stack.callback(collector.close)
        yield Soak(postgres, catalog, servers, collectors, days, config, Random(seed))


def network_faults(way: Toxiproxy) -> list[Fault]:
    """What a network does, each until it is healed."""

    def begun(fault: Callable[[], None]) -> Fault:
        def begin() -> HowToEnd:
            fault()
            return way.heal

        return begin

    return [
        begun(fault)
        for fault in (
            way.reset,
            way.stuck,
            way.silent,
            way.down,
            lambda: way.broken(20_000),
            lambda: way.far(100, 80),
        )
    ]


def _dealt(random: Random, cards: Sequence[T]) -> Iterator[T]:
    """At random, none twice before all were dealt."""
    while True:
        yield from random.sample(cards, len(cards))


async def _live_objects(connection: "asyncpg.Connection[Any]") -> set[str]:
    rows = await connection.fetch("SELECT id FROM objects WHERE deleted_at IS NULL")
    return {str(row["id"]) for row in rows}


async def _collected(connection: "asyncpg.Connection[Any]") -> tuple[int, int, int]:
    row = await connection.fetchrow(
        "SELECT count(*), coalesce(sum((counts->>'removed_blobs')::bigint), 0),"
        " coalesce(sum((counts->>'deleted_keys')::bigint), 0) FROM gc_runs"
    )
    return int(row[0]), int(row[1]), int(row[2])
