"""tus concatenation: parts become one object, in any order of events, and nothing is left over."""

import asyncio
from base64 import b64encode
from hashlib import sha256
from itertools import pairwise
from uuid import UUID

import asyncpg
import pytest
from blake3 import blake3
from uuid_utils.compat import uuid7

from mediastore.catalog.collection import expire_uploads
from mediastore.catalog.concatenation import create_final
from mediastore.catalog.objects import get_object
from mediastore.catalog.tenants import create_api_key, create_tenant
from mediastore.catalog.uploads import UploadDraft
from mediastore.uploads import finishing, joining
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.policies import set_policy
from tests.integration.uploads.test_tus import content, create, patch, stored
from tests.recount_exact import assert_references_exact


async def part(service: Service, data: bytes, *, sent: int | None = None) -> str:
    """A partial upload of which the first `sent` bytes have come."""
    url = await create(service, len(data), **{"Upload-Concat": "partial"})
    sent = len(data) if sent is None else sent
    if sent:
        assert await patch(service, url, 0, data[:sent]) == (204, str(sent))
    return url


async def final(service: Service, *parts: str, **headers: str) -> tuple[int, str]:
    """The status, and Location or the problem's code."""
    answer = await service.client.post(
        "/v1/uploads",
        headers={**service.tus, "Upload-Concat": f"final;{' '.join(parts)}", **headers},
    )
    if answer.status == 201:
        return 201, answer.headers["Location"]
    return answer.status, (await answer.json())["code"]


async def head(service: Service, url: str) -> dict[str, str]:
    """Status and the headers that count."""
    answer = await service.client.head(url, headers=service.tus)
    names = ("Upload-Offset", "Upload-Length", "Upload-Concat")
    found = {name: answer.headers[name] for name in names if name in answer.headers}
    return {"status": str(answer.status), **found}


def id_of(url: str) -> UUID:
    return UUID(url.rpartition("/")[2])


async def half_joined(service: Service, *parts: str) -> str:
    """The final of a process that has died in the middle of the first part."""
    draft = UploadDraft(uuid7(), "acme", "", "", "a/b", {}, "tus", None)
    ids = [id_of(url) for url in parts]
    final_id, _ = await create_final(
        service.catalog,
        draft,
        ids,
        header=f"final;{' '.join(parts)}",
        epoch=1,
        size_max_bytes=1 << 40,
    )
    return f"/v1/uploads/{final_id}"


async def delete(service: Service, url: str) -> int:
    return (await service.client.delete(url, headers=service.tus)).status


async def expire_all(service: Service, sql: asyncpg.Connection) -> None:
    """Long after everybody has left: everything open has expired and was collected."""
    await sql.execute("UPDATE uploads SET expires_at = now() - interval '1 hour'")
    while (await expire_uploads(service.catalog, 10, entries_max=7)).entries:
        pass
    await expire_uploads(service.catalog, 10, entries_max=7)


async def assert_nothing_left(sql: asyncpg.Connection) -> None:
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    assert await sql.fetchval("SELECT count(*) FROM uploads WHERE concat = 'final'") == 0
    await assert_references_exact(sql)


async def test_parts_in_parallel_become_one_object(
    service: Service, sql: asyncpg.Connection
) -> None:
    data = content(100_000)
    cuts = [0, 30_000, 30_001, 77_777, 100_000]
    pieces = [data[start:end] for start, end in pairwise(cuts)]
    parts = await asyncio.gather(*(part(service, piece) for piece in pieces))
    puts, gets = service.store.count("put"), service.store.count("get")
    status, url = await final(service, *parts)
    assert status == 201
    assert service.store.count("put") == puts, "no byte is copied"
    assert await stored(service, url) == data
    concat = f"final;{' '.join(parts)}"
    assert await head(service, url) == {
        "status": "200",
        "Upload-Offset": "100000",
        "Upload-Length": "100000",
        "Upload-Concat": concat,
    }
    first_part_chunks = len(pieces[0]) // 8192 + 1
    assert service.store.count("get") - gets <= len(service.kept._held) - first_part_chunks
    assert await sql.fetchval("SELECT count(*) FROM objects") == 1
    await assert_nothing_left(sql)


async def test_a_part_says_what_it_is_and_is_never_an_object(
    service: Service, sql: asyncpg.Connection
) -> None:
    url = await part(service, content(3000), sent=1000)
    expected = {"status": "200", "Upload-Concat": "partial", "Upload-Length": "3000"}
    assert await head(service, url) == {**expected, "Upload-Offset": "1000"}
    assert await patch(service, url, 1000, content(3000)[1000:]) == (204, "3000")
    assert await head(service, url) == {**expected, "Upload-Offset": "3000"}
    assert await patch(service, url, 3000, b"") == (204, "3000")
    assert (await patch(service, url, 3000, b"x"))[0] == 413
    empty = await part(service, b"")
    assert await head(service, empty) == {
        "status": "200",
        "Upload-Concat": "partial",
        "Upload-Length": "0",
        "Upload-Offset": "0",
    }
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0


async def test_creation_with_the_whole_part_as_body(
    service: Service, sql: asyncpg.Connection
) -> None:
    headers = {**service.tus, "Upload-Length": "5", "Upload-Concat": "partial"}
    headers["Content-Type"] = "application/offset+octet-stream"
    answer = await service.client.post("/v1/uploads", data=b"hello", headers=headers)
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, "5")
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0
    _, url = await final(service, answer.headers["Location"], await part(service, b" world"))
    assert await stored(service, url) == b"hello world"


async def test_parts_of_no_bytes(service: Service, sql: asyncpg.Connection) -> None:
    _, url = await final(service, await part(service, b""), await part(service, b""))
    assert await stored(service, url) == b""
    _, url = await final(
        service, await part(service, b""), await part(service, b"x"), await part(service, b"")
    )
    assert await stored(service, url) == b"x"
    await assert_nothing_left(sql)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_a_final_that_comes_before_its_parts_are_whole(
    service: Service, sql: asyncpg.Connection, order: tuple[int, ...]
) -> None:
    data = content(60_000)
    pieces = [data[:20_000], data[20_000:45_000], data[45_000:]]
    parts = [await part(service, piece, sent=10) for piece in pieces]
    status, url = await final(service, *parts)
    concat = f"final;{' '.join(parts)}"
    waiting = {"status": "200", "Upload-Length": "60000", "Upload-Concat": concat}
    assert status == 201
    for number in order:
        assert await head(service, url) == waiting
        size = len(pieces[number])
        assert await patch(service, parts[number], 10, pieces[number][10:]) == (204, str(size))
        await assert_references_exact(sql)
    await until(lambda: not service.uploads.parts.finisher._jobs)
    assert await head(service, url) == {**waiting, "Upload-Offset": "60000"}
    assert await stored(service, url) == data
    await assert_nothing_left(sql)


async def test_a_final_takes_no_bytes_at_any_time(service: Service) -> None:
    first = await part(service, b"hello", sent=2)
    _, url = await final(service, first)
    for offset in (0, 1, 5):
        assert (await patch(service, url, offset, b"x"))[0] == 403
    assert await patch(service, first, 2, b"llo") == (204, "5")
    await until(lambda: not service.uploads.parts.finisher._jobs)
    for offset in (0, 5):
        assert (await patch(service, url, offset, b"x"))[0] == 403
    assert await stored(service, url) == b"hello"
    length = {"Upload-Length": "5"}
    assert await final(service, await part(service, b"hello"), **length) == (400, "bad_length")


async def test_a_part_may_be_named_by_any_host_of_ours(service: Service) -> None:
    """Behind proxies there are several; whose the part is, its id and the key's tenant say."""
    parts = [await part(service, b"hello"), await part(service, b" world")]
    named = [f"https://media.example.com/base{parts[0]}", f"http://10.0.0.1:8080{parts[1]}"]
    status, url = await final(service, *named)
    assert status == 201
    assert await stored(service, url) == b"hello world"
    assert (await head(service, url))["Upload-Concat"] == f"final;{' '.join(named)}"
    assert await final(service, *parts) == (201, url)


@pytest.mark.parametrize("whole", [True, False])
async def test_the_same_list_again_is_the_same_final(
    service: Service, sql: asyncpg.Connection, whole: bool
) -> None:
    parts = [
        await part(service, content(9000, seed), sent=None if whole else 10) for seed in (1, 2)
    ]
    first = await final(service, *parts)
    assert await final(service, *parts) == first
    answers = await asyncio.gather(*(final(service, *parts) for _ in range(5)))
    assert set(answers) == {first}
    assert await sql.fetchval("SELECT count(*) FROM concatenations") == 1
    assert await sql.fetchval("SELECT count(*) FROM objects") == (1 if whole else 0)
    assert await final(service, *reversed(parts)) == (409, "part_taken")
    assert await final(service, parts[0]) == (409, "part_taken")
    assert await final(service, await part(service, b"x"), parts[1]) == (409, "part_taken")
    assert await sql.fetchval("SELECT count(*) FROM concatenations") == 1


async def test_lists_that_race_for_a_part_make_one_final(
    service: Service, sql: asyncpg.Connection
) -> None:
    shared = await part(service, content(3000))
    own = [await part(service, content(2000, seed)) for seed in range(6)]
    answers = await asyncio.gather(
        *(
            final(service, *((one, shared) if number % 2 else (shared, one)))
            for number, one in enumerate(own)
        )
    )
    assert sorted(status for status, _ in answers) == [201, 409, 409, 409, 409, 409]
    assert await sql.fetchval("SELECT count(*) FROM objects") == 1
    await assert_references_exact(sql)


async def test_what_is_no_part_is_refused_and_takes_nothing(
    service: Service, sql: asyncpg.Connection
) -> None:
    good = await part(service, b"hello")
    await create_tenant(service.catalog, "other")
    other = await create_api_key(service.catalog, "other", name="test")
    theirs = await service.client.post(
        "/v1/uploads",
        headers={
            "Authorization": f"Bearer {other}",
            "Tus-Resumable": "1.0.0",
            "Upload-Length": "0",
            "Upload-Concat": "partial",
        },
    )
    expired = await part(service, b"late")
    await sql.execute(
        "UPDATE uploads SET expires_at = now() - interval '1s' WHERE id = $1", id_of(expired)
    )
    ordinary = await create(service, 5)
    missing = f"/v1/uploads/{UUID(int=7)}"
    for bad in (theirs.headers["Location"], expired, ordinary, missing):
        assert await final(service, good, bad) == (400, "bad_concatenation")
    assert await sql.fetchval("SELECT count(*) FROM concatenations") == 0
    status, url = await final(service, good)
    assert status == 201
    assert await stored(service, url) == b"hello"


async def test_parts_that_are_too_large_together(start: Starter, sql: asyncpg.Connection) -> None:
    service = await start(uploads={"size_max_bytes": 10_000})
    parts = [await part(service, content(6000, seed), sent=10) for seed in (1, 2)]
    assert await final(service, *parts) == (413, "too_large")
    assert await sql.fetchval("SELECT count(*) FROM uploads WHERE concat = 'final'") == 0
    assert (await final(service, parts[0]))[0] == 201


@pytest.mark.parametrize("sent", [10, None])
async def test_terminating_the_final_frees_parts_that_gave_nothing(
    service: Service, sql: asyncpg.Connection, sent: int | None
) -> None:
    data = content(20_000)
    done, open_ = await part(service, data, sent=sent), await part(service, data, sent=10)
    _, url = await final(service, done, open_)
    assert await delete(service, url) == 204
    assert (await head(service, url))["status"] == "404"
    assert (await head(service, done))["status"] == ("404" if sent is None else "200")
    assert (await head(service, open_))["status"] == "200"
    if sent is None:
        assert await final(service, done, open_) == (400, "bad_concatenation")
    status, again = await final(service, open_)
    assert status == 201
    assert await patch(service, open_, 10, data[10:]) == (204, "20000")
    await until(lambda: not service.uploads.parts.finisher._jobs)
    assert await stored(service, again) == data
    await expire_all(service, sql)
    await assert_nothing_left(sql)


async def test_terminating_a_part_ends_a_final_that_waits_for_it(
    service: Service, sql: asyncpg.Connection
) -> None:
    parts = [await part(service, content(20_000, seed), sent=10) for seed in range(3)]
    _, url = await final(service, *parts)
    assert await patch(service, parts[0], 10, content(20_000, 0)[10:]) == (204, "20000")
    assert await delete(service, parts[1]) == 204
    assert (await head(service, url))["status"] == "404"
    assert (await head(service, parts[0]))["status"] == "404", "its bytes went with the final"
    assert (await head(service, parts[2]))["status"] == "200"
    await assert_references_exact(sql)
    await expire_all(service, sql)
    await assert_nothing_left(sql)


async def test_a_part_that_was_joined_may_go(service: Service, sql: asyncpg.Connection) -> None:
    first, second = await part(service, b"hello"), await part(service, b" world", sent=2)
    _, url = await final(service, first, second)
    assert (await head(service, first))["Upload-Offset"] == "5"
    assert await delete(service, first) == 204
    assert await patch(service, second, 2, b"orld") == (204, "6")
    await until(lambda: not service.uploads.parts.finisher._jobs)
    assert await stored(service, url) == b"hello world"
    assert await delete(service, second) == 204
    assert await final(service, first, second) == (201, url)
    await assert_nothing_left(sql)


async def test_final_and_parts_expire_together(service: Service, sql: asyncpg.Connection) -> None:
    parts = [await part(service, content(20_000, seed), sent=10) for seed in range(3)]
    _, url = await final(service, *parts)
    assert await patch(service, parts[0], 10, content(20_000, 0)[10:]) == (204, "20000")
    await sql.execute(
        "UPDATE uploads SET expires_at = now() - interval '1 hour' WHERE id <> $1", id_of(parts[2])
    )
    expired = await expire_uploads(service.catalog, 10, entries_max=1000)
    assert (expired.uploads, expired.entries) == (0, 0), "one part of it is still worked on"
    assert (await head(service, url))["status"] == "200"
    await expire_all(service, sql)
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    await assert_nothing_left(sql)


async def test_a_declared_hash_that_is_wrong_leaves_nothing(
    service: Service, sql: asyncpg.Connection
) -> None:
    for declared, expected in ((b"hello world", 201), (b"hello", 400)):
        parts = [await part(service, b"hello"), await part(service, b" world")]
        text = b64encode(blake3(declared).hexdigest().encode()).decode()
        status, said = await final(service, *parts, **{"Upload-Metadata": f"blake3 {text}"})
        assert status == expected, said
        await sql.execute("UPDATE uploads SET expires_at = least(expires_at, now())")
        await expire_all(service, sql)
        await assert_nothing_left(sql)


async def test_joining_goes_on_in_bounded_steps_and_in_another_process(
    start: Starter, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies between two steps, or before the first: a sweep elsewhere goes on."""
    monkeypatch.setattr("mediastore.catalog.concatenation.RELEASED_ROWS_MAX", 3)
    first = await start()
    data = content(200_000)
    parts = [await part(first, data[:120_000]), await part(first, data[120_000:], sent=10)]
    url = await half_joined(first, *parts)
    assert await sql.fetchval("SELECT joined FROM concatenations") == 0
    await assert_references_exact(sql)

    async def dies(*_: object) -> None:
        return None

    monkeypatch.setattr(first.uploads.parts.joiner, "part_came", dies)
    assert await patch(first, parts[1], 10, data[120_010:]) == (204, "80000")
    monkeypatch.setattr(joining, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(finishing, "SWEEP_SECONDS", 0.01)
    await sql.execute("UPDATE uploads SET touched_at = now() - interval '1h'")
    second = await start(first.kept)
    made = None
    while made is None:
        await asyncio.sleep(0.01)
        made = await get_object(second.catalog, "acme", id_of(url))
    assert await stored(second, url) == data
    await assert_nothing_left(sql)


async def test_termination_in_the_middle_of_a_part(
    service: Service, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediastore.catalog.concatenation.RELEASED_ROWS_MAX", 3)
    for gone in ("final", "first", "second"):
        parts = [await part(service, content(100_000)), await part(service, b"more", sent=1)]
        url = await half_joined(service, *parts)
        moved = await sql.fetchval('SELECT "offset" FROM uploads WHERE id = $1', id_of(url))
        assert 0 < moved < 100_000
        victim = {"final": url, "first": parts[0], "second": parts[1]}[gone]
        assert await delete(service, victim) == 204
        assert (await head(service, url))["status"] == "404"
        assert (await head(service, parts[0]))["status"] == "404"
        await assert_references_exact(sql)
        await expire_all(service, sql)
        await assert_nothing_left(sql)


async def test_a_process_that_dies_while_it_hashes_the_whole(
    start: Starter, sql: asyncpg.Connection
) -> None:
    first = await start(uploads={"finishing_wait_seconds": 0.01})
    reading = Fault(gate=asyncio.Event())
    first.store.always("get", reading)
    data = content(50_000)
    status, url = await final(
        first, await part(first, data[:20_000]), await part(first, data[20_000:])
    )
    assert status == 201
    assert (await head(first, url))["Upload-Offset"] == "50000"
    await first.uploads.parts.finisher.close()
    await sql.execute("UPDATE uploads SET touched_at = now() - interval '1h'")
    second = await start(first.kept)
    assert (await head(second, url))["Upload-Offset"] == "50000"
    assert await stored(second, url) == data
    await assert_nothing_left(sql)


async def test_parts_whose_length_comes_later(service: Service, sql: asyncpg.Connection) -> None:
    deferred = {**service.tus, "Upload-Concat": "partial", "Upload-Defer-Length": "1"}
    answer = await service.client.post("/v1/uploads", headers=deferred)
    first = answer.headers["Location"]
    second = await part(service, b" world")
    status, url = await final(service, first, second)
    assert status == 201
    concat = f"final;{first} {second}"
    assert await head(service, url) == {"status": "200", "Upload-Concat": concat}
    assert await patch(service, first, 0, b"hello") == (204, "5")
    assert await head(service, url) == {"status": "200", "Upload-Concat": concat}
    answer = await service.client.patch(
        first,
        headers={
            **service.tus,
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": "5",
            "Upload-Length": "5",
        },
    )
    assert answer.status == 204
    await until(lambda: not service.uploads.parts.finisher._jobs)
    assert await stored(service, url) == b"hello world"
    await assert_nothing_left(sql)


async def test_digests_of_the_whole_are_checked(service: Service, sql: asyncpg.Connection) -> None:
    for said, expected in ((b"hello world", 201), (b"hello", 400)):
        digest = b64encode(sha256(said).digest()).decode()
        parts = [await part(service, b"hello"), await part(service, b" world")]
        status, _ = await final(service, *parts, **{"Repr-Digest": f"sha-256=:{digest}:"})
        assert status == expected
    await expire_all(service, sql)
    await assert_nothing_left(sql)


@pytest.mark.parametrize("asked", ["creation", "head"])
async def test_who_makes_a_final_whole_learns_why_it_was_refused_however_soon(
    service: Service, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """The job may end before its request looks at the row again, which is gone then."""
    start_job = service.uploads.parts.joiner._start

    async def ended_at_once(tenant: str, final_id: UUID) -> object:
        started = await start_job(tenant, final_id)
        await until(lambda: not service.uploads.parts.finisher._jobs)
        return started

    monkeypatch.setattr(service.uploads.parts.joiner, "_start", ended_at_once)
    digest = b64encode(sha256(b"other").digest()).decode()
    said = {"Repr-Digest": f"sha-256=:{digest}:"}
    if asked == "creation":
        assert await final(service, await part(service, b"hello"), **said) == (400, "bad_digest")
        return
    late = await part(service, b"hello", sent=1)
    status, url = await final(service, late, **said)
    assert status == 201

    async def nobody(*_: object) -> None:
        return None

    monkeypatch.setattr(service.uploads.parts.joiner, "part_came", nobody)
    assert await patch(service, late, 1, b"ello") == (204, "5")
    assert (await head(service, url))["status"] == "400"
    assert (await head(service, url))["status"] == "404"


async def test_the_type_of_the_whole_is_checked_not_that_of_parts(
    service: Service, sql: asyncpg.Connection
) -> None:
    await set_policy(service, type_mismatch="refuse", content_types=["image/png"])
    png = b"\x89PNG\r\n\x1a\n" + content(20_000)
    said = {"Upload-Metadata": f"filetype {b64encode(b'image/png').decode()}"}
    for data, expected in ((png, 201), (content(20_000), 422)):
        parts = [await part(service, data[:5]), await part(service, data[5:])]
        assert (await final(service, *parts))[0] == 415, "the final says no type"
        status, url = await final(service, *parts, **said)
        assert status == expected, url
        if status == 201:
            assert await stored(service, url) == data
    await expire_all(service, sql)
    await assert_nothing_left(sql)
