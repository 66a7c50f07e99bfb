"""Uploads of very many small pieces: cut again by content, while open and at their end."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from blake3 import blake3

from mediastore.catalog.objects import Object, get_object
from mediastore.catalog.rechunking import begin_rechunking, settle
from mediastore.catalog.taking import take_upload
from mediastore.catalog.uploads import get_upload
from mediastore.content.chunker import Chunker
from mediastore.content.hashing import BlobHasher
from mediastore.errors import ChunkStoreUnavailable, UploadTaken
from mediastore.uploads import finishing
from tests.faults import Fault
from tests.integration.uploads.conftest import SMALL_CHUNKS, Service, Starter, until
from tests.integration.uploads.test_concatenation import final, id_of, part
from tests.integration.uploads.test_tus import content, create, offset_of, patch, stored
from tests.recount_exact import assert_references_exact

FEW = {"fragments_max": 32, "rechunk_fragments_min": 4}


async def in_pieces(service: Service, url: str, data: bytes, sizes: Sequence[int]) -> int:
    """Send pieces of these sizes, each in a request of its own; the offset then."""
    offset = await offset_of(service, url)
    for size in sizes:
        piece = data[offset : offset + size]
        offset += len(piece)
        assert await patch(service, url, offset - len(piece), piece) == (204, str(offset))
    return offset


async def object_of(service: Service, url: str) -> Object:
    made = await get_object(service.catalog, "acme", id_of(url))
    assert made is not None
    return made


async def chunks_of(service: Service, blob: bytes) -> list[bytes]:
    rows = await service.catalog.fetch("blob_read", blob, 0, 1 << 40, 1_000_000)
    return [row["hash"] for row in rows]


def cut(data: bytes) -> list[bytes]:
    """How content is cut that comes in one go."""
    least, average, most = SMALL_CHUNKS.values()
    chunker = Chunker(least, average, most)
    chunker.feed(data)
    return [blake3(chunk).digest() for chunk in chunker.flush()]


@pytest.mark.parametrize("size", [100, 1000, 8200, 30_000, 50_000])
async def test_a_fragmented_upload_is_cut_as_if_it_had_come_in_one_go(
    start: Starter, sql: asyncpg.Connection, size: int
) -> None:
    service = await start(uploads={"rechunk_fragments_min": 4})
    data = content(size)
    url = await create(service, size)
    await in_pieces(service, url, data, [size // 100] * 100)
    made = await object_of(service, url)
    assert await chunks_of(service, made.blob) == cut(data)
    assert await stored(service, url) == data
    await assert_references_exact(sql)


async def test_it_shares_every_chunk_with_the_same_file_in_one_go(
    start: Starter, sql: asyncpg.Connection
) -> None:
    """Of another blob, so that it is chunks that are shared: one byte more at its end."""
    service = await start(uploads={"rechunk_fragments_min": 4})
    data = content(60_000)
    whole = await create(service, 60_001)
    assert await patch(service, whole, 0, data + b"x") == (204, "60001")
    url = await create(service, 60_000)
    await in_pieces(service, url, data, [300] * 199)
    before = set(service.kept._held)
    await in_pieces(service, url, data, [300])
    made, other = await object_of(service, url), await object_of(service, whole)
    assert set((await chunks_of(service, made.blob))[:-1]) <= set(
        await chunks_of(service, other.blob)
    )
    new = set(service.kept._held) - before
    assert len(new) <= 2, "the last piece, and the last chunk"
    await assert_references_exact(sql)


async def test_ordinary_uploads_are_left_as_they_are(start: Starter) -> None:
    service = await start()
    data = content(120_000)
    for sizes in ([100] * 16, [4096] * 20):
        url = await create(service, sum(sizes))
        await in_pieces(service, url, data, sizes)
        made = await object_of(service, url)
        assert len(await chunks_of(service, made.blob)) >= len(sizes)
    assert service.store.count("get") == 0


async def test_a_joined_upload_is_cut_across_its_parts(
    start: Starter, sql: asyncpg.Connection
) -> None:
    service = await start(uploads=FEW)
    data = content(20_000)
    parts = [await part(service, data[at : at + 400]) for at in range(0, 20_000, 400)]
    status, url = await final(service, *parts)
    assert status == 201
    made = await object_of(service, url)
    assert await chunks_of(service, made.blob) == cut(data)
    assert await stored(service, url) == data
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    await assert_references_exact(sql)


async def test_an_open_upload_never_has_more_rows_than_the_cap(
    start: Starter, sql: asyncpg.Connection
) -> None:
    service = await start(uploads=FEW)
    size, choice = 40_000, Random(1)
    data = content(size)
    url = await create(service, size)
    last_chunk_max = SMALL_CHUNKS["size_max_bytes"] // (SMALL_CHUNKS["size_average_bytes"] // 8)
    most = offset = 0
    while offset < size:
        offset = await in_pieces(service, url, data, [choice.choice((1, 7, 100, 300))])
        most = max(most, await sql.fetchval("SELECT count(*) FROM upload_chunks"))
        if offset < size:
            fragments = await sql.fetchval("SELECT fragments FROM uploads")
            assert fragments == await sql.fetchval(
                "SELECT count(*) FROM upload_chunks AS c JOIN uploads AS u ON u.id = c.upload "
                'WHERE pass = 0 AND c."offset" >= coalesce(rechunked, 0)'
            )
        await assert_references_exact(sql)
    assert most <= 32 + len(cut(data))
    made = await object_of(service, url)
    chunks, ideal = await chunks_of(service, made.blob), cut(data)
    assert chunks[: len(ideal) - 2] == ideal[:-2]
    assert len(chunks) <= len(ideal) + FEW["rechunk_fragments_min"] + last_chunk_max
    assert await stored(service, url) == data
    await assert_references_exact(sql)


async def test_room_is_made_without_reading_again_what_was_cut(start: Starter) -> None:
    service = await start(uploads=FEW)
    data = content(60_000)
    url = await create(service, 60_000)
    await in_pieces(service, url, data, [200] * 300)
    assert service.store.count("get") < 2 * 300


async def test_large_pieces_after_small_ones_are_not_read_back(
    start: Starter, sql: asyncpg.Connection
) -> None:
    service = await start(uploads=FEW)
    data = content(300_000)
    url = await create(service, 300_000)
    await in_pieces(service, url, data, [10] * 33)
    reads = service.store.count("get")
    assert reads == 32
    assert await patch(service, url, 330, data[330:]) == (204, "300000")
    assert service.store.count("get") == reads
    assert await stored(service, url) == data
    await assert_references_exact(sql)


async def test_a_request_that_cannot_wait_is_told_when_to_come_back(
    start: Starter, sql: asyncpg.Connection
) -> None:
    service = await start(uploads={**FEW, "finishing_wait_seconds": 0.01})
    data = content(10_000)
    url = await create(service, 10_000)
    await in_pieces(service, url, data, [10] * 32)
    reading = Fault(gate=asyncio.Event())
    service.store.always("get", reading)
    epoch = None
    for _ in range(3):
        answer = await service.client.patch(
            url,
            data=data[320:],
            headers={
                **service.tus,
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": "320",
            },
        )
        assert answer.status == 503
        assert (await answer.json())["code"] == "upload_fragmented"
        assert "Retry-After" in answer.headers
        assert await offset_of(service, url) == 320
        assert epoch in (None, await sql.fetchval("SELECT epoch FROM uploads"))
        epoch = await sql.fetchval("SELECT epoch FROM uploads")
    assert reading.gate is not None
    reading.gate.set()
    await until(lambda: not service.uploads.parts.rechunker._jobs)
    assert await patch(service, url, 320, data[320:]) == (204, "10000")
    await until(lambda: not service.uploads.parts.finisher._jobs)
    assert await stored(service, url) == data
    await assert_references_exact(sql)


async def test_one_body_that_is_stored_in_small_pieces_ends_at_the_cap(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when memory is short all the time: each piece that comes is stored at once."""
    from mediastore.memory import Reservation
    from mediastore.uploads import session

    monkeypatch.setattr(session, "SHED_MIN_BYTES", 1)
    monkeypatch.setattr(Reservation, "starved", property(lambda _: True))
    service = await start(uploads=FEW)
    data = content(10_000)
    url = await create(service, 10_000)

    async def trickle(start: int) -> object:
        for at in range(start, 10_000, 50):
            yield data[at : at + 50]
            await asyncio.sleep(0.001)

    offset = rounds = 0
    while offset < 10_000:
        answer = await service.client.patch(
            url,
            data=trickle(offset),
            headers={
                **service.tus,
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(offset),
            },
        )
        assert answer.status in (204, 503)
        assert await sql.fetchval("SELECT count(*) FROM upload_chunks") <= 32 + 10 + 1
        now = await offset_of(service, url)
        assert now > offset
        offset, rounds = now, rounds + 1
    assert rounds > 1
    assert await stored(service, url) == data
    await assert_references_exact(sql)


# Crashes and takeovers


async def crashed_at(
    start: Starter, sql: asyncpg.Connection, puts: int
) -> tuple[Service, str, bytes]:
    """A service that dies while it re-chunks a finishing upload, at its n-th PUT."""
    first = await start(
        uploads={**FEW, "fragments_max": 4096, "batch_max_bytes": 64 * 1024},
    )
    data = content(300_000)
    url = await create(first, 300_000)
    await in_pieces(first, url, data, [400] * 749)
    dying = Fault(gate=asyncio.Event())
    first.store.script("put", None, *[None] * puts, dying)
    sending = asyncio.create_task(patch(first, url, 299_600, data[299_600:]))
    await dying.reached.wait()
    await first.uploads.parts.finisher.close()
    sending.cancel()
    first.store.heal()
    await assert_references_exact(sql)
    return first, url, data


@pytest.mark.parametrize("puts", [0, 3, 20, 45])
async def test_another_process_goes_on_where_one_has_died(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, puts: int
) -> None:
    first, url, data = await crashed_at(start, sql, puts)
    cursor = await sql.fetchval("SELECT rechunked FROM uploads")
    await sql.execute("UPDATE uploads SET touched_at = now() - interval '1h'")
    second = await start(first.kept, uploads={**FEW, "batch_max_bytes": 64 * 1024})
    assert await offset_of(second, url) == 300_000
    await until(lambda: not second.uploads.parts.finisher._jobs)
    made = await object_of(second, url)
    assert await chunks_of(second, made.blob) == cut(data)
    assert await stored(second, url) == data
    if puts >= 20:
        assert cursor > 0, "what was committed is not done again"
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    await assert_references_exact(sql)


async def test_a_crash_at_every_statement_of_the_pass(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th statement of the job is its last, for every n; then a job goes on to the next."""
    monkeypatch.setattr("mediastore.catalog.rechunking.RELEASED_ROWS_MAX", 50)
    service = await start(uploads={**FEW, "batch_max_bytes": 64 * 1024, "fragments_max": 4096})
    data = content(160_000)
    url = await create(service, 160_000)
    reading = Fault(before=ChunkStoreUnavailable())
    service.store.always("get", reading)
    monkeypatch.setattr(finishing, "OUTAGE_RETRIES_MAX", 0)
    await in_pieces(service, url, data, [400] * 399)
    answer = await service.client.patch(
        url,
        data=data[159_600:],
        headers={
            **service.tus,
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": "159600",
        },
    )
    assert answer.status == 503
    service.store.heal()
    rechunker, catalog = service.uploads.parts.rechunker, service.catalog
    crashes = 0
    while True:
        upload = await get_upload(catalog, "acme", id_of(url))
        assert upload is not None
        allowed = 1 + crashes % 5
        dying = DyingCatalog(catalog, allowed)
        rechunker._catalog = dying  # type: ignore[assignment]
        try:
            await rechunker.prepare(upload, BlobHasher())
        except Died:
            crashes += 1
            assert await content_of(sql, service, upload.id) == data
            await assert_references_exact(sql)
            continue
        break
    assert crashes > 5
    rechunker._catalog = catalog
    await sql.execute("UPDATE uploads SET touched_at = now() - interval '1h'")
    await offset_of(service, url)
    await until(lambda: not service.uploads.parts.finisher._jobs)
    made = await object_of(service, url)
    assert await chunks_of(service, made.blob) == cut(data)
    await assert_references_exact(sql)


class Died(Exception):
    """The process is gone."""


class DyingCatalog:
    """Passes a number of statements on; the next one is done and its answer never comes."""

    def __init__(self, catalog: object, allowed: int) -> None:
        self._catalog = catalog
        self._left = allowed

    def __getattr__(self, name: str) -> object:
        method = getattr(self._catalog, name)
        if not name.startswith("fetch"):
            return method

        async def counted(*arguments: object, **named: object) -> object:
            answer = await method(*arguments, **named)
            self._left -= 1
            if self._left < 0:
                raise Died
            return answer

        return counted


async def content_of(sql: asyncpg.Connection, service: Service, id_: UUID) -> bytes:
    """An upload's bytes by the rule of the migration: pass 1 below the cursor, pass 0 from it on.
    In the middle of a pass, of the row of pass 0 that lies across the cursor only the rest.
    """
    cursor = await sql.fetchval("SELECT coalesce(rechunked, 0) FROM uploads WHERE id = $1", id_)
    rows = await sql.fetch(
        'SELECT pass, u."offset", u.hash, u.size, generation, stored FROM upload_chunks AS u '
        "JOIN chunks AS c ON c.hash = u.hash WHERE upload = $1 "
        'AND CASE pass WHEN 1 THEN u."offset" < $2 ELSE u."offset" + u.size > $2 END '
        'ORDER BY pass DESC, u."offset"',
        id_,
        cursor,
    )
    data = b""
    for row in rows:
        assert row["stored"]
        key = f"chunks/{row['hash'].hex()}/{row['generation']:016x}"
        data += (await service.kept.get(key))[max(0, len(data) - row["offset"]) :]
    return data


async def test_a_writer_whose_epoch_is_over_writes_nothing_more(
    start: Starter, sql: asyncpg.Connection
) -> None:
    service = await start(uploads=FEW)
    data = content(10_000)
    url = await create(service, 10_000)
    await in_pieces(service, url, data, [10] * 32)
    first = await take_upload(service.catalog, "acme", id_of(url))
    second = await take_upload(service.catalog, "acme", id_of(url))
    assert first is not None
    assert second is not None
    old, new = first.upload, second.upload
    with pytest.raises(UploadTaken):
        await begin_rechunking(service.catalog, old)
    with pytest.raises(UploadTaken):
        await settle(service.catalog, old)
    with pytest.raises(UploadTaken):
        await service.uploads.parts.rechunker.make_room(old)
    roomy = await service.uploads.parts.rechunker.make_room(new)
    assert roomy.fragments == 1
    assert await patch(service, url, 320, data[320:]) == (204, "10000")
    assert await stored(service, url) == data
    await assert_references_exact(sql)


async def test_an_open_upload_that_was_cut_again_can_go_at_any_moment(
    start: Starter, sql: asyncpg.Connection
) -> None:
    service = await start(uploads=FEW)
    data = content(20_000)
    for _ in range(2):
        url = await create(service, 20_000)
        await in_pieces(service, url, data, [300] * 40)
        assert await sql.fetchval("SELECT rechunked FROM uploads") is not None
        assert (await service.client.delete(url, headers=service.tus)).status == 204
        assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
        await assert_references_exact(sql)


async def test_a_fragmented_part_gives_what_was_cut_again(
    start: Starter, sql: asyncpg.Connection
) -> None:
    service = await start(uploads=FEW)
    data = content(20_000)
    url = await create(service, 12_000, **{"Upload-Concat": "partial"})
    await in_pieces(service, url, data, [300] * 40)
    status, whole = await final(service, url, await part(service, data[12_000:]))
    assert status == 201
    assert await stored(service, whole) == data
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    await assert_references_exact(sql)


async def test_memory_is_given_back_whatever_happens(start: Starter) -> None:
    service = await start(uploads=FEW)
    data = content(10_000)
    url = await create(service, 10_000)
    await in_pieces(service, url, data, [10] * 32)
    service.store.script("get", None, None, Fault(before=ChunkStoreUnavailable()))
    assert (await patch(service, url, 320, data[320:]))[0] == 503
    assert service.memory.in_use_bytes == 0
    assert await patch(service, url, 320, data[320:]) == (204, "10000")
    assert service.memory.in_use_bytes == 0
    assert await stored(service, url) == data


@pytest.mark.parametrize("gone", ["before", "after"])
async def test_what_another_request_ended_while_its_pieces_were_put_together(
    start: Starter, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """It was taken over, and may be an object by now: that is no 404."""
    service = await start(uploads=FEW)
    url = await create(service, 10_000)
    await in_pieces(service, url, content(10_000), [10] * 31)
    upload = (await service.uploads.take("acme", id_of(url))).upload
    assert upload is not None
    rechunker = service.uploads.parts.rechunker
    run = rechunker._run

    async def ended_elsewhere(*arguments: Any) -> None:
        if gone == "after":
            await run(*arguments)
        assert (await service.client.delete(url, headers=service.tus)).status == 204
        if gone == "before":
            await run(*arguments)

    monkeypatch.setattr(rechunker, "_run", ended_elsewhere)
    with pytest.raises(UploadTaken):
        await rechunker.make_room(upload)
