"""What goes wrong while a form is stored: the store, the catalog, memory that is short."""

import asyncio
import zlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from mediastore.catalog.pool import Catalog
from mediastore.errors import CatalogUnavailable, ChunkStoreUnavailable
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.policies import set_policy
from tests.integration.uploads.test_form import BOUNDARY, Part, bytes_of, check_exact, encoded, send
from tests.integration.uploads.test_tus import content

MIB = 1024 * 1024
SMALL: list[Part] = [("f", f"{number}", content(500, number)) for number in range(20)]


async def test_a_store_that_fails_ends_the_form_and_leaves_nothing(
    service: Service, sql: asyncpg.Connection
) -> None:
    service.store.script("put", None, None, Fault(before=ChunkStoreUnavailable()))
    status, answer = await send(service, encoded(*SMALL))
    assert (status, answer["code"]) == (503, "chunk_store_unavailable")
    assert {item["problem"]["code"] for item in answer["results"]} == {"chunk_store_unavailable"}
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0
    await check_exact(service, sql)
    assert (await send(service, encoded(*SMALL)))[0] == 201
    await check_exact(service, sql)


async def test_files_before_the_failure_stay(start: Starter, sql: asyncpg.Connection) -> None:
    service = await start(uploads={"group_bodies_max": 5})
    service.store.script("put", *[None] * 5, Fault(before=ChunkStoreUnavailable()))
    status, answer = await send(service, encoded(*SMALL))
    assert (status, answer["code"]) == (503, "chunk_store_unavailable")
    fates = ["object" in item for item in answer["results"]]
    assert fates[:10] == [True] * 5 + [False] * 5
    assert await sql.fetchval("SELECT count(*) FROM objects") == sum(fates) < 20
    await check_exact(service, sql)


async def test_a_large_file_that_cannot_be_stored_ends_the_form(
    service: Service, sql: asyncpg.Connection
) -> None:
    service.store.always("put", Fault(before=ChunkStoreUnavailable()))
    parts: list[Part] = [("f", "a", content(50_000)), ("f", "b", b"x")]
    status, answer = await send(service, encoded(*parts))
    assert (status, answer["code"]) == (503, "chunk_store_unavailable")
    assert [item["filename"] for item in answer["results"]] == ["a"]
    await check_exact(service, sql)


async def test_a_chunk_that_changes_sends_the_group_back_to_its_intent(
    service: Service, sql: asyncpg.Connection
) -> None:
    gate = Fault(gate=asyncio.Event())
    service.store.script("put", gate)
    sending = asyncio.create_task(send(service, encoded(*SMALL)))
    await gate.reached.wait()
    assert gate.gate is not None
    changed = await sql.fetchval(
        "UPDATE chunks SET generation = generation / 2 "
        "WHERE hash = (SELECT hash FROM chunks ORDER BY hash LIMIT 1) "
        "RETURNING hash"
    )
    gate.gate.set()
    status, answer = await sending
    assert status == 201
    made = [item["object"] for item in answer["results"]]
    assert changed.hex() in {object_["blob"] for object_ in made}
    assert [await bytes_of(service, object_) for object_ in made] == [data for *_, data in SMALL]
    await check_exact(service, sql)


async def test_a_damaged_chunk_is_healed_by_a_group(
    service: Service, sql: asyncpg.Connection
) -> None:
    assert (await send(service, encoded(*SMALL)))[0] == 201
    for key in list(service.kept._held)[::2]:
        await service.kept.put(key, b"rotten", crc32=zlib.crc32(b"rotten"))
    await sql.execute("UPDATE chunks SET damaged_at = now()")
    status, answer = await send(service, encoded(*SMALL))
    assert status == 201
    made = [item["object"] for item in answer["results"]]
    assert [await bytes_of(service, object_) for object_ in made] == [data for *_, data in SMALL]
    assert await sql.fetchval("SELECT count(*) FROM chunks WHERE damaged_at IS NOT NULL") == 0
    await check_exact(service, sql)


async def test_two_forms_with_the_same_new_files(service: Service, sql: asyncpg.Connection) -> None:
    """The blobs come into being between the other's begin and finish."""
    gates = [Fault(gate=asyncio.Event()) for _ in range(2)]
    service.store.script("put", *gates)
    backwards = encoded(*reversed(SMALL))
    forms = [asyncio.create_task(send(service, body)) for body in (encoded(*SMALL), backwards)]
    await asyncio.gather(*(gate.reached.wait() for gate in gates))
    for gate in gates:
        assert gate.gate is not None
        gate.gate.set()
    assert [status for status, _ in await asyncio.gather(*forms)] == [201, 201]
    assert await sql.fetchval("SELECT count(*) FROM objects") == 40
    assert await sql.fetchval("SELECT count(*) FROM blobs WHERE refs = 2") == 20
    await check_exact(service, sql)


async def test_a_key_in_use_fails_for_its_file_alone(
    service: Service, sql: asyncpg.Connection
) -> None:
    """One file's key is taken by a request that is not done: the others are made."""
    await sql.execute(
        "INSERT INTO idempotency_keys (tenant, key, object, expires_at) "
        "VALUES ('acme', $1, gen_random_uuid(), now() + interval '1 hour')",
        "k\x1f3",
    )
    status, answer = await send(service, encoded(*SMALL), **{"Idempotency-Key": "k"})
    assert status == 207
    failed = [item["problem"]["code"] for item in answer["results"] if "problem" in item]
    assert failed == ["idempotency_key_in_use"]
    assert answer["results"][2]["status"] == 409
    assert await sql.fetchval("SELECT count(*) FROM objects") == 19
    await check_exact(service, sql)


async def test_a_catalog_that_fails_in_the_middle(
    service: Service, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Catalog.fetch

    async def failing(self: Catalog, query: str, *arguments: object) -> list[asyncpg.Record]:
        if query == "bodies_finish":
            raise CatalogUnavailable
        return await fetch(self, query, *arguments)

    monkeypatch.setattr(Catalog, "fetch", failing)
    status, answer = await send(service, encoded(*SMALL))
    assert (status, answer["code"]) == (503, "catalog_unavailable")
    await check_exact(service, sql)


@pytest.mark.parametrize("begun", [b"", b"begun"], ids=["between files", "in a file"])
async def test_small_files_are_stored_when_others_need_the_memory(
    start: Starter, begun: bytes
) -> None:
    """Sleeping forms hold nearly all memory; asked to, they store it, so that others get in."""
    service = await start(memory={"budget_bytes": 64 * MIB, "wait_max_seconds": 10}, chunking={})
    files = [[content(MIB - 1000, 10 * form + n) for n in range(7)] for form in range(8)]
    awake = asyncio.Event()

    async def slow(form: int) -> AsyncIterator[bytes]:
        parts: list[Part] = [("f", f"{n}", data) for n, data in enumerate(files[form])]
        yield encoded(*parts, end=False)
        last = encoded(("f", "last", begun), end=False)[:-2]
        cut = len(last) if begun else len(BOUNDARY) + 10  # in its content, or in its headers
        yield last[:cut]
        await awake.wait()
        yield last[cut:] + b"\r\n--" + BOUNDARY.encode() + b"--\r\n"

    asleep = [asyncio.create_task(send(service, slow(form))) for form in range(8)]
    memory = service.memory
    await until(lambda: memory.in_use_bytes >= 8 * 7 * (MIB - 1000) + 8 * len(begun))
    await memory.acquire(63 * MIB, timeout_seconds=10)
    memory.release(63 * MIB)
    awake.set()
    answers = await asyncio.gather(*asleep)
    for (status, answer), wanted in zip(answers, files, strict=True):
        assert status == 201
        made = [item["object"] for item in answer["results"]]
        assert [await bytes_of(service, object_) for object_ in made[:7]] == wanted
        assert made[7]["size"] == len(begun)
    assert memory.in_use_max_bytes <= 64 * MIB
    assert memory.in_use_bytes == 0


async def test_forms_that_would_hold_more_than_there_is_take_turns(start: Starter) -> None:
    service = await start(memory={"budget_bytes": 64 * MIB, "wait_max_seconds": 10}, chunking={})
    files = [[content(MIB - 1000, 10 * form + n) for n in range(8)] for form in range(12)]

    async def sent(form: int) -> tuple[int, object]:
        parts: list[Part] = [("f", f"{n}", data) for n, data in enumerate(files[form])]
        return await send(service, encoded(*parts))

    answers = await asyncio.gather(*map(sent, range(12)))
    assert [status for status, _ in answers] == [201] * 12
    assert service.memory.in_use_max_bytes <= 64 * MIB
    assert service.memory.in_use_bytes == 0


async def test_what_a_group_leaves_expires_as_the_tenant_s_uploads_do(
    service: Service, sql: asyncpg.Connection
) -> None:
    await set_policy(service, upload_expires_seconds=3600)
    putting = Fault(gate=asyncio.Event())
    service.store.always("put", putting)
    sending = asyncio.create_task(send(service, encoded(("f", "a", b"x"), ("f", "b", b"y"))))
    await putting.reached.wait()
    lasts = await sql.fetchval("SELECT expires_at - created_at FROM uploads")
    assert lasts.total_seconds() == pytest.approx(3600, abs=60)
    assert putting.gate is not None
    putting.gate.set()
    assert (await sending)[0] == 201
