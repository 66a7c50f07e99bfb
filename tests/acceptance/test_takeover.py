"""Phones that change their replica at any moment: two real processes, one Postgres, one store.

A phone sends through one replica, breaks off or goes silent at a random byte (a batch holds a few
of its pieces), and goes on at once through a replica chosen at random: by HEAD, or by PATCH at the
offset it was told last, or by both at the same time. The bytes are compared at the end, no offset
ever decreases, what HEAD has answered no older request moves, nobody is answered 423, and every
request that was left behind is ended by the service. $MEDIASTORE_TEST_SEED repeats a run.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import asyncpg
import pytest

from tests.acceptance.client import Answer, Client, read_to_end
from tests.acceptance.conftest import SMALL_CHUNKS, MakeServer
from tests.acceptance.content import blob_of, content
from tests.acceptance.server import Server
from tests.recount_exact import assert_references_exact

SIZE_MAX = 600_000
PHONES = 4
SETTINGS = {
    **SMALL_CHUNKS,
    "MEDIASTORE_UPLOADS__BATCH_MAX_BYTES": "65536",
    # Nothing but being told ends a request that is silent.
    "MEDIASTORE_HTTP__BODY_IDLE_TIMEOUT_SECONDS": "3600",
    "MEDIASTORE_UPLOADS__BODY_RATE_MIN_BYTES_PER_SECOND": "0",
}
SEED = int(os.environ.get("MEDIASTORE_TEST_SEED", "4"))


@dataclass(slots=True)
class Phone:
    """Uploads one content after another until it has changed its replica often enough."""

    replicas: list[Client]
    random: Random
    takeovers_min: int
    takeovers: int = 0
    uploads: dict[str, tuple[int, int]] = field(default_factory=dict)
    failure: BaseException | None = None

    def run(self) -> None:
        try:
            while self.takeovers < self.takeovers_min:
                seed, size = self.random.getrandbits(30), self.random.randint(1, SIZE_MAX)
                upload = self.random.choice(self.replicas).create(size)
                transfer = Transfer(self, upload, content(size, seed))
                transfer.run()
                self.takeovers += transfer.takeovers
                self.uploads[upload] = (size, seed)
        except BaseException as error:  # noqa: BLE001  (the test's own thread raises it)
            self.failure = error


@dataclass(slots=True)
class Transfer:
    """One upload, from its creation to its last byte."""

    phone: Phone
    upload: str
    data: bytes
    told: int = 0
    takeovers: int = 0
    left: list[socket.socket] = field(default_factory=list)
    """Connections whose requests wait for more of their bodies."""
    unanswered: set[int] = field(default_factory=set)
    """Offsets of requests that were left or broken off: they may begin later than newer ones."""

    def run(self) -> None:
        while self.told < len(self.data):
            self.takeovers += bool(self.unanswered)
            asks = self.random.random() < 0.5
            if asks:
                self._ask(self._replica())
            step = self.random.choice(
                (self._send_part, self._break_off, self._go_silent, self._race)
            )
            step(strict=asks and self.told not in self.unanswered)
        for connection in self.left:
            with connection:
                answer = read_to_end(connection)  # ends only if the service ends it
            assert answer.startswith(b"HTTP/1.1 409 "), answer

    @property
    def random(self) -> Random:
        return self.phone.random

    def _replica(self) -> Client:
        return self.random.choice(self.phone.replicas)

    def _ask(self, replica: Client) -> None:
        answer = replica.head(self.upload)
        assert answer.status == 200, answer
        self._was_told(answer)

    def _send_part(self, *, strict: bool) -> None:
        """A PATCH that brings what it promises. `strict`: HEAD has just answered its offset, and no
        older request can have begun since.
        """
        piece = self.random.randint(0, min(200_000, len(self.data) - self.told))
        answer = self._patch(self._replica(), piece)
        assert answer.status == 204 or (answer.status == 409 and not strict), (answer, strict)
        self._was_told(answer)

    def _break_off(self, *, strict: bool) -> None:
        del strict
        self._promise().close()

    def _go_silent(self, *, strict: bool) -> None:
        del strict
        self.left.append(self._promise())

    def _race(self, *, strict: bool) -> None:
        """Two requests at once, through both replicas."""
        del strict
        size = min(self.random.randint(1, 100_000), len(self.data) - self.told)
        first, second = self.random.sample(self.phone.replicas, 2)
        other: Callable[[], Answer] = self.random.choice(
            (lambda: second.head(self.upload), lambda: self._patch(second, size))
        )
        answers: list[Answer] = []
        threads = [
            threading.Thread(target=lambda: answers.append(self._patch(first, size))),
            threading.Thread(target=lambda: answers.append(other())),
        ]
        before = self.told
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.takeovers += 1
        assert len(answers) == 2, "a request got no answer"
        for answer in answers:
            assert answer.status in (200, 204, 409), answer
            if "upload-offset" in answer.headers:
                assert answer.offset >= before, "an offset has decreased"
                self.told = max(self.told, answer.offset)

    def _promise(self) -> socket.socket:
        """A PATCH that promises all the rest and brings a part of it."""
        replica = self._replica()
        rest = len(self.data) - self.told
        brings = self.random.randrange(rest)
        opened = socket.create_connection(replica.address, timeout=60)
        head = replica.head_of_patch(self.upload, self.told, rest)
        opened.sendall(head + self.data[self.told : self.told + brings])
        self.unanswered.add(self.told)
        return opened

    def _patch(self, replica: Client, size: int) -> Answer:
        return replica.patch(self.upload, self.told, self.data[self.told : self.told + size])

    def _was_told(self, answer: Answer) -> None:
        if "upload-offset" in answer.headers:
            assert answer.offset >= self.told, "an offset has decreased"
            self.told = answer.offset


def use_phones(make_server: MakeServer, dsn: str, takeovers: int) -> None:
    print(f"MEDIASTORE_TEST_SEED={SEED}")  # pytest shows it when the test fails
    servers = [make_server(**SETTINGS), make_server(**SETTINGS)]
    for server in servers:
        server.start()
    replicas = [server.client() for server in servers]
    phones = [Phone(replicas, Random(SEED * 1000 + n), takeovers // PHONES) for n in range(PHONES)]
    threads = [threading.Thread(target=phone.run, daemon=True) for phone in phones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for phone in phones:
        if phone.failure is not None:
            raise phone.failure
        for upload, (size, seed) in phone.uploads.items():
            made = phone.random.choice(servers).made(upload)
            assert (made["size"], made["blob"]) == (size, blob_of(size, seed))
            whole = phone.random.choice(servers).client().content(made["id"])
            assert whole == content(size, seed)
    assert sum(map(taken_over, servers)) >= takeovers // 20, "hardly anybody was told"
    asyncio.run(count_references(dsn))


def taken_over(server: Server) -> float:
    """Requests that this process ended because another took their upload."""
    assert server.metrics_url is not None
    metrics = Client(server.metrics_url.removesuffix("/metrics"), "").get("/metrics").body.decode()
    (value,) = [
        line.split()[1]
        for line in metrics.splitlines()
        if line.startswith("mediastore_uploads_taken_over_total ")
    ]
    return float(value)


async def count_references(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await assert_references_exact(connection)
        assert await connection.fetchval("SELECT count(*) FROM uploads") == 0
        assert await connection.fetchval("SELECT count(*) FROM quarantine") == 0
    finally:
        await connection.close()


@pytest.mark.timeout(400)
def test_phones_that_change_their_replica(make_server: MakeServer, dsn: str) -> None:
    use_phones(make_server, dsn, takeovers=200)


@pytest.mark.full
@pytest.mark.timeout(2400)
def test_thousands_of_changes(make_server: MakeServer, dsn: str) -> None:
    use_phones(make_server, dsn, takeovers=2000)
