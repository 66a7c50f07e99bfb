"""Takeover between two replicas, one interleaving a test (INV-1, INV-8).

The replicas share the database and the store, each has listener, pool and a faulty wrapper of the
store of its own. That nobody waits is shown by what never happens: a gate that stays shut, a wait
that must not be entered.
"""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from unittest.mock import Mock

import asyncpg
import pytest
from aiohttp import ClientResponse, StreamReader
from uuid_utils.compat import uuid7

from mediastore.catalog import listener
from mediastore.catalog.taking import tell_replica
from mediastore.catalog.uploads import UploadDraft
from mediastore.errors import UploadTaken
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, offset_of, patch, stored
from tests.recount_exact import assert_references_exact

SIZE = 100_000
DATA = content(SIZE)
NEVER_SECONDS = 3600  # a test's own timeout ends it long before


@dataclass(slots=True)
class Sleeping:
    """A PATCH whose client sends some bytes and then neither more nor an end."""

    service: Service
    url: str
    sent: bytes
    offset: int = 0
    answer: asyncio.Task[ClientResponse] = field(init=False)
    _awake: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self) -> None:
        """Return when the service has read all that was sent."""
        before = self.service.received_bytes
        self.answer = asyncio.create_task(
            self.service.client.patch(
                self.url,
                data=self._body(),
                headers={
                    **self.service.tus,
                    **PATCH_TYPE,
                    "Upload-Offset": str(self.offset),
                },
            )
        )
        await until(lambda: self.service.received_bytes - before >= len(self.sent))

    async def ended(self) -> tuple[int, str]:
        """Status and code of its answer, which came although the client has not sent an end."""
        answer = await self.answer
        return answer.status, (await answer.json())["code"]

    async def _body(self) -> AsyncIterator[bytes]:
        yield self.sent
        await self._awake.wait()


async def sleeping(service: Service, url: str, sent: bytes, offset: int = 0) -> Sleeping:
    request = Sleeping(service, url, sent, offset)
    await request.begin()
    return request


@pytest.fixture
def replicas(start: Starter, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Two of them. On a machine however busy neither is taken for dead, and who waits for the other
    waits until it has answered, unless the test says for how long.
    """
    monkeypatch.setattr(listener, "TIMEOUT_SECONDS", NEVER_SECONDS)
    monkeypatch.setattr(listener, "SILENCE_MAX_SECONDS", NEVER_SECONDS)

    async def started(**uploads: object) -> tuple[Service, Service]:
        first = await start(uploads=uploads)
        second = await start(first.kept, uploads=uploads)
        if "hand_over_wait_seconds" not in uploads:
            for service in (first, second):
                monkeypatch.setattr(service.uploads.replicas, "_wait_seconds", NEVER_SECONDS)
        await until(lambda: first.uploads.replicas.listening and second.uploads.replicas.listening)
        return first, second

    return started


def never(what: str) -> Callable[..., Any]:
    def fail(*_arguments: object, **_named: object) -> None:
        raise AssertionError(what)

    return fail


async def finish(service: Service, url: str, offset: int, sql: asyncpg.Connection) -> None:
    """Send the rest, and look at all of it."""
    assert await patch(service, url, offset, DATA[offset:]) == (204, str(SIZE))
    assert await stored(service, url) == DATA
    await assert_references_exact(sql)


async def test_a_half_open_request_first_stores_what_it_holds(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    first, second = await replicas()
    url = await create(first, SIZE)
    old = await sleeping(first, url, DATA[:20_000])
    assert await offset_of(second, url) == 20_000
    assert await old.ended() == (409, "upload_taken")
    await finish(second, url, 20_000, sql)


async def test_a_put_in_flight_is_waited_for_within_the_bound(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    first, second = await replicas()
    url = await create(first, SIZE)
    gate = asyncio.Event()
    first.store.always("put", Fault(gate=gate))
    old = await sleeping(first, url, DATA[:20_000])
    asking = asyncio.create_task(offset_of(second, url))
    await until(lambda: first.store.count("put") > 0)  # told to let go, it stores
    assert not asking.done()
    gate.set()
    assert await asking == 20_000
    assert await old.ended() == (409, "upload_taken")
    await finish(second, url, 20_000, sql)


async def test_nobody_waits_for_a_put_that_hangs(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    """And when it comes back it moves nothing: the answer to HEAD stays true."""
    first, second = await replicas(hand_over_wait_seconds=0.05)
    url = await create(first, SIZE)
    hanging = Fault(gate=asyncio.Event())
    first.store.always("put", hanging)
    old = await sleeping(first, url, DATA[:20_000])
    assert await offset_of(second, url) == 0  # the gate is shut
    assert hanging.gate is not None
    hanging.gate.set()
    assert await old.ended() == (409, "upload_taken")
    assert await sql.fetchval('SELECT "offset" FROM uploads') == 0
    await finish(second, url, 0, sql)


async def test_a_patch_at_the_right_offset_waits_for_nothing(
    replicas: Callable[..., Any], sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await replicas()
    monkeypatch.setattr(second.uploads.replicas, "wait", never("it waited"))
    url = await create(first, SIZE)
    hanging = Fault(gate=asyncio.Event())
    first.store.always("put", hanging)
    old = await sleeping(first, url, DATA[:20_000])
    assert await patch(second, url, 0, DATA[:30_000]) == (204, "30000")
    assert hanging.gate is not None
    hanging.gate.set()
    assert await old.ended() == (409, "upload_taken")  # it was told
    await finish(second, url, 30_000, sql)


@pytest.mark.parametrize("query", ["upload_intent", "upload_commit_last"])
@pytest.mark.parametrize("sent_first", [True, False])
async def test_a_statement_in_flight(
    replicas: Callable[..., Any],
    sql: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    sent_first: bool,
) -> None:
    """Before the take it counts, after it it is refused: no answer is made untrue."""
    first, second = await replicas()
    url = await create(first, SIZE)
    old = await sleeping(first, url, DATA[:20_000])
    reached, gate = asyncio.Event(), asyncio.Event()
    run = first.catalog._run
    statement = first.catalog.statement(query)

    async def held(work: Callable[[Any], Any]) -> Any:
        if statement not in [cell.cell_contents for cell in work.__closure__ or ()]:
            return await run(work)
        result = await run(work) if sent_first else None
        reached.set()
        await gate.wait()
        return result if sent_first else await run(work)

    async def out_of_patience(_settled: asyncio.Event) -> bool:
        await reached.wait()
        return False

    monkeypatch.setattr(first.catalog, "_run", held)
    monkeypatch.setattr(second.uploads.replicas, "wait", out_of_patience)
    offset = await offset_of(second, url)  # the gate is shut
    counts = sent_first and query == "upload_commit_last"
    assert offset == (20_000 if counts else 0)
    gate.set()
    assert await old.ended() == (409, "upload_taken")
    assert await sql.fetchval('SELECT "offset" FROM uploads') == offset
    await finish(second, url, offset, sql)


@pytest.mark.parametrize("asks", [True, False])
async def test_a_request_that_was_overtaken_before_it_read_its_body_reads_nothing(
    replicas: Callable[..., Any],
    sql: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    asks: bool,
) -> None:
    first, second = await replicas()
    url = await create(first, SIZE)
    taken, gate = asyncio.Event(), asyncio.Event()
    take = first.uploads.replicas.take

    async def slow(*arguments: Any, **named: Any) -> object:
        result = await take(*arguments, **named)
        taken.set()
        await gate.wait()
        return result

    monkeypatch.setattr(first.uploads.replicas, "take", slow)
    old = asyncio.create_task(patch(first, url, 0, DATA[:20_000]))
    await taken.wait()
    if asks:
        assert await offset_of(second, url) == 0
    else:
        assert await patch(second, url, 0, DATA[:30_000]) == (204, "30000")
    await until(lambda: bool(first.uploads._bodies._ended))
    gate.set()
    assert await old == (409, None)
    assert first.received_bytes == 0
    await finish(second, url, 0 if asks else 30_000, sql)


async def test_two_takes_of_one_replica_whose_answers_overtake_each_other(
    replicas: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that the database saw last goes on; the other is refused, and ends nobody."""
    service, _ = await replicas()
    url = await create(service, SIZE)
    taken, gate = asyncio.Event(), asyncio.Event()
    take = service.uploads.replicas.take

    async def slow(*arguments: Any, **named: Any) -> object:
        result = await take(*arguments, **named)
        taken.set()
        await gate.wait()
        return result

    monkeypatch.setattr(service.uploads.replicas, "take", slow)
    overtaken = asyncio.create_task(patch(service, url, 0, DATA[:20_000]))
    await taken.wait()
    monkeypatch.undo()
    last = await sleeping(service, url, DATA[:30_000])
    gate.set()
    assert await overtaken == (409, None)
    assert not last.answer.done()
    assert await offset_of(service, url) == 30_000
    assert await last.ended() == (409, "upload_taken")


async def test_for_a_replica_that_has_died_nobody_waits(
    replicas: Callable[..., Any], sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await replicas()
    monkeypatch.setattr(second.uploads.replicas, "wait", never("it waited"))
    url = await create(first, SIZE)
    assert await patch(first, url, 0, DATA[:20_000]) == (204, "20000")
    await sql.execute("UPDATE uploads SET writer = 12345")
    assert await offset_of(second, url) == 20_000
    await finish(second, url, 20_000, sql)


async def test_a_replica_that_cannot_hear_the_answer_does_not_ask(
    replicas: Callable[..., Any], sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await replicas()
    monkeypatch.setattr(second.uploads.replicas, "wait", never("it waited"))
    monkeypatch.setattr(second.uploads.replicas, "_listening", False)
    url = await create(first, SIZE)
    old = await sleeping(first, url, DATA[:20_000])
    assert await offset_of(second, url) == 0
    assert await old.ended() == (409, "upload_taken")  # told all the same
    await finish(second, url, 0, sql)


async def test_a_listener_comes_back_with_its_lock(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    first, second = await replicas()
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'mediastore listen%' AND datname = current_database()"
    )
    await until(lambda: not first.uploads.replicas.listening)
    await until(lambda: first.uploads.replicas.listening and second.uploads.replicas.listening)
    url = await create(first, SIZE)
    old = await sleeping(first, url, DATA[:20_000])
    assert await offset_of(second, url) == 20_000
    assert await old.ended() == (409, "upload_taken")


async def test_uploads_as_they_usually_go_tell_nobody(
    replicas: Callable[..., Any], sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Request after request, each through another replica: no NOTIFY, no wait."""
    first, second = await replicas()
    told: list[tuple[Any, ...]] = []
    await sql.execute(
        "CREATE OR REPLACE FUNCTION replica_tell_v1(p_replica bigint, p_words text) RETURNS void "
        "LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$told$$; END'"
    )
    for service in (first, second):
        monkeypatch.setattr(service.uploads.replicas, "wait", never("it waited"))
        monkeypatch.setattr(service.uploads.replicas, "notified", lambda *said: told.append(said))
    url = await create(first, SIZE)
    offset = 0
    for service in (first, second, first, second):
        assert await offset_of(service, url) == offset
        end = offset + 20_000
        assert await patch(service, url, offset, DATA[offset:end]) == (204, str(end))
        assert await sql.fetchval("SELECT writer FROM uploads") is None
        offset = end
    await finish(first, url, offset, sql)
    assert told == []


async def patch_checked(
    service: Service, url: str, data: bytes, *, said_to_be: bytes
) -> ClientResponse:
    """A PATCH at offset 0 with the checksum of `said_to_be`."""
    checksum = b64encode(hashlib.sha256(said_to_be).digest()).decode()
    return await service.client.patch(
        url,
        data=BytesIO(data),
        headers={
            **service.tus,
            **PATCH_TYPE,
            "Upload-Offset": "0",
            "Upload-Checksum": f"sha256 {checksum}",
        },
    )


async def test_a_checked_body_of_several_batches_is_no_writer_afterwards(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    first, second = await replicas(batch_max_bytes=64 * 1024)
    url = await create(first, SIZE)
    answer = await patch_checked(first, url, DATA[:90_000], said_to_be=DATA[:90_000])
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "90000")
    assert await sql.fetchval("SELECT writer FROM uploads") is None
    await finish(second, url, 90_000, sql)


async def test_a_checked_body_that_is_not_what_it_was_said_to_be_leaves_no_writer(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    first, second = await replicas(batch_max_bytes=64 * 1024)
    url = await create(first, SIZE)
    answer = await patch_checked(first, url, DATA[:90_000], said_to_be=b"other")
    assert answer.status == 460
    assert await sql.fetchval("SELECT writer FROM uploads") is None
    await finish(second, url, 0, sql)


async def test_a_request_without_a_body_is_no_writer(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    first, second = await replicas()
    url = await create(first, SIZE)
    assert await patch(first, url, 0, b"") == (204, "0")
    assert await sql.fetchval("SELECT writer FROM uploads") is None
    await finish(second, url, 0, sql)


async def test_a_termination_ends_the_other_replicas_request(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    first, second = await replicas()
    url = await create(first, SIZE)
    old = await sleeping(first, url, DATA[:20_000])
    answer = await second.client.delete(url, headers=second.tus)
    assert answer.status == 204
    assert (await old.ended())[0] in (404, 409)
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0


async def test_a_notification_that_means_nothing_changes_nothing(
    replicas: Callable[..., Any],
) -> None:
    first, second = await replicas()
    url = await create(first, SIZE)
    old = await sleeping(first, url, DATA[:20_000])
    for words in ("", "taken", "taken x", "taken 1", "ask 1", "ask  1 2", "settled 5", "later 1 2"):
        await tell_replica(second.catalog, first.uploads.replicas.id, words)
    assert not old.answer.done()
    assert await offset_of(second, url) == 20_000
    assert await old.ended() == (409, "upload_taken")


async def test_a_creation_whose_client_is_told_of_it_at_once(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    """As with interim responses: the client may resume elsewhere before its body has ended."""
    first, second = await replicas()
    draft = UploadDraft(uuid7(), "acme", "", "n", "text/plain", {}, "tus", SIZE)
    standing = await first.uploads.begin(draft, writes=True)
    assert standing.upload is not None
    stream = StreamReader(Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
    stream.feed_data(DATA[:20_000])
    writing = asyncio.create_task(first.uploads.append(standing.upload, stream))
    await until(lambda: first.received_bytes == 20_000)
    url = f"/v1/uploads/{draft.id}"
    assert await offset_of(second, url) == 20_000
    with pytest.raises(UploadTaken):
        await writing
    await finish(second, url, 20_000, sql)


async def test_a_wrong_offset_takes_nothing_from_another_replica(
    replicas: Callable[..., Any], sql: asyncpg.Connection
) -> None:
    first, second = await replicas()
    url = await create(first, SIZE)
    old = await sleeping(first, url, DATA[:20_000])
    epoch = await sql.fetchval("SELECT epoch FROM uploads")
    assert await patch(second, url, 7, b"x") == (409, "0")
    assert await sql.fetchval("SELECT epoch FROM uploads") == epoch
    assert not old.answer.done()
    assert await offset_of(second, url) == 20_000
