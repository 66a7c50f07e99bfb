"""tus, Extensions: Checksum: a body counts as a whole or not at all."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from mediastore.catalog.pool import Catalog
from mediastore.content.digests import TUS_ALGORITHMS, Digester
from mediastore.errors import ChunkStoreUnavailable
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_faults import settled
from tests.integration.uploads.test_tus import PATCH_TYPE, content, create, offset_of, patch, stored
from tests.recount_exact import assert_references_exact

SEVERAL_BATCHES = 300_000
FEW = {"batch_max_bytes": 64 * 1024}


def checksum(data: bytes, algorithm: str = "sha1") -> dict[str, str]:
    ours = TUS_ALGORITHMS[algorithm]
    digester = Digester([ours])
    digester.update(data)
    return {"Upload-Checksum": f"{algorithm} {b64encode(digester.digests()[ours]).decode()}"}


def rfc_9530(data: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{b64encode(sha256(data).digest()).decode()}:"}


WRONG = checksum(b"something else")


async def send(
    service: Service, url: str, offset: int, data: Any, said: dict[str, str]
) -> tuple[int, str | None]:
    answer = await service.client.patch(
        url, data=data, headers={**service.tus, **PATCH_TYPE, "Upload-Offset": str(offset), **said}
    )
    code = (await answer.json(content_type=None))["code"] if answer.status >= 400 else None
    return answer.status, code


@pytest.fixture
async def few(start: Starter) -> Service:
    """A service whose batches are small, so that a body of a few hundred kilobytes has several."""
    return await start(uploads=FEW)


@pytest.mark.parametrize("algorithm", TUS_ALGORITHMS)
async def test_every_algorithm_accepts_what_is_right_and_refuses_what_is_not(
    service: Service, algorithm: str
) -> None:
    data = content(9000)
    url = await create(service, 9000)
    wrong = checksum(data + b"x", algorithm)
    assert await send(service, url, 0, data, wrong) == (460, "checksum_mismatch")
    assert await offset_of(service, url) == 0
    assert await send(service, url, 0, data[:4000], checksum(data[:4000], algorithm)) == (204, None)
    assert await send(service, url, 4000, data[4000:], wrong) == (460, "checksum_mismatch")
    assert await offset_of(service, url) == 4000
    assert await send(service, url, 4000, data[4000:], checksum(data[4000:], algorithm)) == (
        204,
        None,
    )
    assert await stored(service, url) == data


async def test_content_digest_says_the_same(service: Service) -> None:
    data = content(9000)
    url = await create(service, 9000)
    right, wrong = rfc_9530(data), rfc_9530(data + b"x")
    assert await send(service, url, 0, data, wrong) == (460, "checksum_mismatch")
    assert await send(service, url, 0, data, checksum(data) | wrong) == (460, "checksum_mismatch")
    assert await send(service, url, 0, data, checksum(data, "sha256") | wrong) == (
        400,
        "bad_digest",
    )
    assert await offset_of(service, url) == 0
    assert await send(service, url, 0, data, checksum(data) | right) == (204, None)
    assert await stored(service, url) == data


async def test_a_representation_digest_that_comes_late_is_not_passed_over(service: Service) -> None:
    data = content(9000)
    url = await create(service, 9000)
    late = {"Repr-Digest": rfc_9530(data)["Content-Digest"]}
    assert await send(service, url, 0, data, late) == (400, "bad_checksum")
    assert await offset_of(service, url) == 0


@pytest.mark.parametrize(
    ("size", "rest"),
    [(0, 7), (1, 0), (1024, 7), (60_000, 0), (SEVERAL_BATCHES, 0), (SEVERAL_BATCHES, 7)],
)
async def test_a_mismatch_leaves_the_offset_and_nothing_referenced(
    few: Service, sql: asyncpg.Connection, size: int, rest: int
) -> None:
    """Bodies of none, one and several batches, that end the upload and that do not."""
    before, data = content(5000, 2), content(size)
    length = len(before) + size + rest
    url = await create(few, length)
    assert await patch(few, url, 0, before) == (204, "5000")
    answer = await few.client.patch(
        url, data=data, headers={**few.tus, **PATCH_TYPE, "Upload-Offset": "5000", **WRONG}
    )
    assert (answer.status, answer.reason) == (460, "Checksum Mismatch")
    assert answer.headers["Upload-Offset"] == "5000"
    assert await sql.fetchval("SELECT sum(size) FROM upload_chunks") == 5000
    await assert_references_exact(sql)
    assert await send(few, url, 5000, data, checksum(data)) == (204, None)
    assert await patch(few, url, 5000 + size, bytes(rest)) == (204, str(length))
    assert await stored(few, url) == before + data + bytes(rest)
    assert few.store.count("get") == 0, "what was hashed before is not read back"


async def test_nothing_is_written_for_a_wrong_body_of_one_batch(
    service: Service, sql: asyncpg.Connection
) -> None:
    url = await create(service, 9000)
    assert (await send(service, url, 0, content(9000), WRONG))[0] == 460
    assert service.store.count("put") == 0
    assert await sql.fetchval("SELECT count(*) FROM chunks") == 0


async def test_a_body_of_one_batch_costs_the_same_statements_with_a_checksum(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for method in ("fetch", "fetch_row", "fetch_value"):
        real = getattr(Catalog, method)

        def counted(self: Catalog, query: str, *arguments: Any, real: Any = real) -> Any:
            asked.append(query)
            return real(self, query, *arguments)

        monkeypatch.setattr(Catalog, method, counted)
    seen = []
    for number, says in enumerate(({}, checksum(content(4000, 1)))):
        url = await create(service, 9000)
        asked.clear()
        assert (await send(service, url, 0, content(4000, number), says))[0] == 204
        seen.append(list(asked))
    assert seen[0] == seen[1]


async def test_while_a_checked_body_runs_its_bytes_do_not_count(
    few: Service, sql: asyncpg.Connection
) -> None:
    """HEAD tells the committed offset, ends the older request, and what it staged is released."""
    data = content(SEVERAL_BATCHES)
    url = await create(few, len(data))
    sent = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield data[:-1]
        sent.set()
        await asyncio.sleep(60)

    running = asyncio.create_task(send(few, url, 0, slow(), checksum(data)))
    await sent.wait()
    while not await sql.fetchval("SELECT sum(size) > 100000 FROM upload_chunks"):  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert await sql.fetchval('SELECT "offset" FROM uploads') == 0
    assert await offset_of(few, url) == 0
    assert await running == (409, "upload_taken")
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    await assert_references_exact(sql)
    assert await send(few, url, 0, data, checksum(data)) == (204, None)
    assert await stored(few, url) == data


async def test_another_process_takes_over_and_what_was_staged_is_lost(
    start: Starter, sql: asyncpg.Connection
) -> None:
    first = await start(uploads=FEW)
    second = await start(first.kept, uploads=FEW)
    data = content(SEVERAL_BATCHES)
    url = await create(first, len(data))
    sent, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield data[:200_000]
        sent.set()
        await go_on.wait()
        yield data[200_000:]

    running = asyncio.create_task(send(first, url, 0, slow(), checksum(data)))
    await sent.wait()
    while not await sql.fetchval("SELECT sum(size) > 100000 FROM upload_chunks"):  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert await offset_of(second, url) == 0
    go_on.set()
    assert await running == (409, "upload_taken")
    assert await send(second, url, 0, data, checksum(data)) == (204, None)
    assert await stored(second, url) == data
    await assert_references_exact(sql)


async def test_a_checked_body_that_breaks_off_counts_for_nothing(
    few: Service, sql: asyncpg.Connection
) -> None:
    data = content(SEVERAL_BATCHES)
    url = await create(few, len(data))
    _, writer = await asyncio.open_connection("127.0.0.1", few.client.port)
    fields = {**few.tus, **PATCH_TYPE, "Upload-Offset": "0", **checksum(data)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    length = f"Content-Length: {len(data)}\r\n\r\n"
    writer.write(f"PATCH {url} HTTP/1.1\r\nHost: x\r\n{head}{length}".encode() + data[:-1])
    await writer.drain()
    await until(lambda: bool(few.uploads._bodies))
    writer.close()
    await writer.wait_closed()
    await settled(few)
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    assert await offset_of(few, url) == 0
    assert await send(few, url, 0, data, checksum(data)) == (204, None)
    assert await stored(few, url) == data


async def test_a_store_that_fails_in_the_middle_leaves_nothing_staged(
    few: Service, sql: asyncpg.Connection
) -> None:
    data = content(SEVERAL_BATCHES)
    url = await create(few, len(data))
    few.store.script("put", *[None] * 25, Fault(before=ChunkStoreUnavailable()))
    assert await send(few, url, 0, data, checksum(data)) == (503, "chunk_store_unavailable")
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    await assert_references_exact(sql)
    assert await send(few, url, 0, data, checksum(data)) == (204, None)
    assert await stored(few, url) == data


async def test_a_process_that_has_not_seen_the_beginning_checks_and_finishes(
    start: Starter,
) -> None:
    first = await start(uploads=FEW)
    second = await start(first.kept, uploads=FEW)
    data = content(SEVERAL_BATCHES)
    url = await create(first, len(data))
    assert await patch(first, url, 0, data[:50_000]) == (204, "50000")
    rest = data[50_000:]
    assert (await send(second, url, 50_000, rest, WRONG))[0] == 460
    assert await send(second, url, 50_000, rest, checksum(rest)) == (204, None)
    assert await offset_of(second, url) == len(data)
    assert await stored(second, url) == data


@pytest.mark.parametrize("size", [0, 9000, SEVERAL_BATCHES])
@pytest.mark.parametrize("deferred", [False, True])
async def test_creation_with_a_checked_body(
    few: Service, sql: asyncpg.Connection, size: int, deferred: bool
) -> None:
    data = content(size)
    length = {"Upload-Defer-Length": "1"} if deferred else {"Upload-Length": str(size)}
    headers = {**few.tus, **PATCH_TYPE, **length}
    answer = await few.client.post("/v1/uploads", data=data, headers={**headers, **WRONG})
    assert (answer.status, (await answer.json())["code"]) == (460, "checksum_mismatch")
    for table in ("objects", "uploads", "upload_chunks"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0
    await assert_references_exact(sql)
    answer = await few.client.post("/v1/uploads", data=data, headers={**headers, **checksum(data)})
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, str(size))
    url = answer.headers["Location"]
    if deferred:
        assert await send(few, url, size, b"", {"Upload-Length": str(size)}) == (204, None)
    assert await stored(few, url) == data


@pytest.mark.parametrize("known", [False, True])
async def test_the_last_answer_of_a_checked_request_was_lost(service: Service, known: bool) -> None:
    """It is sent again: with the offset it had, and, behind HEAD, with nothing left to send."""
    data = content(3000)
    url = await create(service, 3000)
    assert await send(service, url, 0, data, checksum(data)) == (204, None)
    assert await send(service, url, 0, data, checksum(data)) == (409, "offset_mismatch")
    if known:
        assert await offset_of(service, url) == 3000
    assert await send(service, url, 3000, b"", checksum(b"")) == (204, None)
    assert (await send(service, url, 3000, b"", WRONG))[0] == 460
    assert await stored(service, url) == data


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ({"Upload-Checksum": "crc32c AAAAAA=="}, "bad_checksum"),
        ({"Upload-Checksum": "sha1 AAAA"}, "bad_checksum"),
        ({"Upload-Checksum": "sha1"}, "bad_checksum"),
        ({"Trailer": "Upload-Checksum"}, "bad_request"),
        ({"Trailer": "Expires, upload-checksum"}, "bad_request"),
    ],
)
async def test_what_cannot_be_checked_is_refused_before_the_body(
    service: Service, sql: asyncpg.Connection, says: dict[str, str], code: str
) -> None:
    url = await create(service, 10)
    epoch = await sql.fetchval("SELECT epoch FROM uploads")
    assert await send(service, url, 0, b"0123456789", says) == (400, code)
    assert await sql.fetchval("SELECT epoch FROM uploads") == epoch
    answer = await service.client.post(
        "/v1/uploads",
        data=b"x",
        headers={**service.tus, **PATCH_TYPE, "Upload-Length": "1", **says},
    )
    assert (answer.status, (await answer.json())["code"]) == (400, code)
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 1
