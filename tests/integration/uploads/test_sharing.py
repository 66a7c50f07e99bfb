"""What is stored once: equal files and parts; and what an unfinished upload leaves."""

import asyncio
import zlib
from random import Random

import asyncpg

from mediastore.catalog.taking import take_upload
from mediastore.chunkstore.keys import chunk_key
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_tus import content, create, offset_of, patch, stored


async def post(service: Service, data: bytes, **headers: str) -> dict[str, object]:
    answer = await service.client.post(
        "/v1/objects", data=data, headers={**service.bearer, **headers}
    )
    assert answer.status in (200, 201), await answer.text()
    document: dict[str, object] = await answer.json()
    return document


def held(service: Service) -> int:
    return len(service.kept._held)


async def test_a_small_file_is_one_chunk_one_put(service: Service, sql: asyncpg.Connection) -> None:
    made = await post(service, b"hello")
    assert made["size"] == 5
    assert held(service) == 1
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    row = await sql.fetchrow("SELECT refs, stored, hash FROM chunks")
    assert (row["refs"], row["stored"], row["hash"].hex()) == (1, True, made["blob"])


async def test_a_whole_duplicate_stores_nothing_and_touches_no_chunk(
    service: Service, sql: asyncpg.Connection
) -> None:
    data = content(60_000)
    first = await post(service, data)
    stored_before = held(service)
    chunks = await sql.fetch("SELECT xmin, * FROM chunks ORDER BY hash")
    second = await post(service, data)
    assert first["blob"] == second["blob"]
    assert first["id"] != second["id"]
    assert held(service) == stored_before
    assert await sql.fetch("SELECT xmin, * FROM chunks ORDER BY hash") == chunks
    assert await sql.fetchval("SELECT refs FROM blobs") == 2


async def test_partly_equal_files_share_chunks(service: Service) -> None:
    data = content(200_000)
    await post(service, data)
    before = held(service)
    await post(service, data[:100_000] + b"an edit" + data[100_000:])
    assert held(service) - before <= 3


async def test_a_duplicate_brings_garbage_back(service: Service, sql: asyncpg.Connection) -> None:
    made = await post(service, b"again")
    await sql.execute("UPDATE objects SET deleted_at = now(), purge_at = now()")
    await sql.execute("SELECT trash_purge_v1(10, NULL)")
    assert await sql.fetchval("SELECT count(*) FROM garbage") == 1
    assert (await post(service, b"again"))["blob"] == made["blob"]
    assert await sql.fetchval("SELECT count(*) FROM garbage") == 0
    assert await sql.fetchval("SELECT refs FROM blobs") == 1


async def test_a_damaged_chunk_is_healed_by_the_next_upload(
    service: Service, sql: asyncpg.Connection
) -> None:
    made = await post(service, b"precious")
    row = await sql.fetchrow("SELECT hash, generation FROM chunks")
    key = chunk_key(row["hash"], row["generation"])
    await service.kept.put(key, b"rotten!!", crc32=zlib.crc32(b"rotten!!"))
    await sql.execute("UPDATE chunks SET damaged_at = now()")
    again = await post(service, b"precious")
    assert again["blob"] == made["blob"]
    assert await service.kept.get(key) == b"precious"
    assert await sql.fetchval("SELECT damaged_at FROM chunks") is None


async def test_a_mark_on_good_bytes_only_loses_the_mark(
    service: Service, sql: asyncpg.Connection
) -> None:
    await post(service, b"precious")
    await sql.execute("UPDATE chunks SET damaged_at = now()")
    versions = {key: entry.version for key, entry in service.kept._held.items()}
    await post(service, b"precious")
    assert {key: entry.version for key, entry in service.kept._held.items()} == versions
    assert await sql.fetchval("SELECT damaged_at FROM chunks") is None


async def test_an_idempotency_key_makes_one_object(
    service: Service, sql: asyncpg.Connection
) -> None:
    first = await post(service, b"once", **{"Idempotency-Key": "k1"})
    second = await post(service, b"once", **{"Idempotency-Key": "k1"})
    assert first == second
    together = await asyncio.gather(
        *(post(service, content(20_000), **{"Idempotency-Key": "k2"}) for _ in range(5))
    )
    assert len({made["id"] for made in together}) == 1
    assert await sql.fetchval("SELECT count(*) FROM objects") == 2
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0


async def test_a_wrong_declared_hash_leaves_nothing(
    service: Service, sql: asyncpg.Connection
) -> None:
    answer = await service.client.post(
        f"/v1/objects?blake3={'0' * 64}", data=content(30_000), headers=service.bearer
    )
    assert (answer.status, (await answer.json())["code"]) == (400, "bad_digest")
    for table in ("objects", "uploads", "upload_chunks", "blobs"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_the_later_writer_wins_and_the_earlier_ones_commit_fails(
    service: Service, sql: asyncpg.Connection
) -> None:
    url = await create(service, 20_000)
    data = content(20_000)
    going = asyncio.Event()

    async def slow() -> object:
        yield data[:9000]
        going.set()
        await asyncio.sleep(30)
        yield data[9000:]

    async def first_writer() -> int:
        answer = await service.client.patch(
            url,
            data=slow(),
            headers={
                **service.tus,
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": "0",
            },
        )
        return answer.status

    first = asyncio.create_task(first_writer())
    await going.wait()
    await until(lambda: bool(service.uploads._bodies))
    await asyncio.sleep(0.05)
    offset = await offset_of(service, url)
    assert await patch(service, url, offset, data[offset:]) == (204, "20000")
    first.cancel()
    assert await stored(service, url) == data
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0


async def test_a_takeover_by_another_process_fences_the_first(start: Starter) -> None:
    first = await start()
    second = await start(first.kept)
    url = await create(first, 30_000)
    data = content(30_000)
    id_ = url.rpartition("/")[2]
    from uuid import UUID

    stale = await take_upload(first.catalog, "acme", UUID(id_))
    assert stale is not None
    assert await patch(second, url, 0, data[:10_000]) == (204, "10000")
    from mediastore.catalog.uploads import BatchChunk, intend
    from mediastore.errors import UploadTaken

    try:
        await intend(first.catalog, stale.upload, [BatchChunk(b"x" * 32, 1, 1)], expires_seconds=60)
    except UploadTaken:
        pass
    else:
        raise AssertionError("a stale epoch wrote an intent")
    assert await patch(second, url, 10_000, data[10_000:]) == (204, "30000")


async def test_many_overlapping_uploads_and_deletes_leave_exact_counts(
    service: Service, sql: asyncpg.Connection
) -> None:
    from tests.recount_exact import assert_references_exact

    random = Random(7)
    parts = [content(12_000, seed) for seed in range(6)]

    async def client(number: int) -> None:
        for _ in range(6):
            data = b"".join(random.choice(parts) for _ in range(random.randrange(1, 5)))
            if random.random() < 0.5:
                made = await post(service, data)
                if random.random() < 0.5:
                    await sql_delete(str(made["id"]))
            else:
                url = await create(service, len(data) + (number % 2))
                cut = random.randrange(len(data))
                await patch(service, url, 0, data[:cut])
                if random.random() < 0.3:
                    await service.client.delete(url, headers=service.tus)
                else:
                    await patch(service, url, cut, data[cut:])

    lock = asyncio.Lock()

    async def sql_delete(id_: str) -> None:
        async with lock:
            await sql.execute(
                "UPDATE objects SET deleted_at = now(), purge_at = now() WHERE id = $1", id_
            )
            await sql.execute("SELECT trash_purge_v1(10, NULL)")
            await sql.execute("SELECT garbage_remove_v1(10, 0)")
            await sql.execute("SELECT references_release_v1(50)")

    await asyncio.gather(*(client(number) for number in range(8)))
    await assert_references_exact(sql)
    assert await sql.fetchval("SELECT count(*) FROM quarantine") == 0
    for row in await sql.fetch("SELECT hash, generation FROM chunks WHERE stored"):
        found = await service.kept.head(chunk_key(row["hash"], row["generation"]))
        assert found.size > 0


async def test_a_finish_locks_the_blob_before_its_chunks(
    service: Service, sql: asyncpg.Connection, dsn: str
) -> None:
    """In the order of the design: body_begin holds a damaged blob and wants that blob's chunks."""
    data = b"precious"
    await post(service, data)
    await sql.execute("UPDATE chunks SET damaged_at = now()")
    putting = Fault(gate=asyncio.Event())
    service.store.script("get", putting)
    healing = asyncio.create_task(post(service, data))
    await putting.reached.wait()
    async with sql.transaction():
        await sql.execute("SELECT 1 FROM blobs FOR UPDATE")
        assert putting.gate is not None
        putting.gate.set()
        other = await asyncpg.connect(dsn)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while not await other.fetchval(waiting):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await other.execute("SELECT 1 FROM chunks FOR UPDATE NOWAIT")
        await other.close()
    assert (await healing)["size"] == len(data)
