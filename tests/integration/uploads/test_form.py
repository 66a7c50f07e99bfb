"""multipart/form-data at POST /v1/objects: fields, files, what becomes of each."""

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from io import BytesIO
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.integration.uploads.conftest import Service, Starter, until
from tests.integration.uploads.test_tus import content, stored
from tests.recount_exact import assert_references_exact

BOUNDARY = "----WebKitFormBoundaryq1w2e3"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
Part = tuple[str, str | None, bytes]


def encoded(*parts: Part, end: bool = True) -> bytes:
    """A form as a browser writes it: (name, filename or None, content)."""
    lines = []
    for name, filename, data in parts:
        file = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: image/png'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        lines.append(head.encode() + data + b"\r\n")
    return b"".join(lines) + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


async def send(
    service: Service, body: object, *, query: str = "", **headers: str
) -> tuple[int, dict[str, Any]]:
    data = BytesIO(body) if isinstance(body, bytes) else body
    answer = await service.client.post(
        f"/v1/objects{query}", data=data, headers={**service.bearer, **FORM, **headers}
    )
    return answer.status, await answer.json()


async def bytes_of(service: Service, object_: dict[str, Any]) -> bytes:
    return await stored(service, f"/v1/objects/{object_['id']}")


async def check_exact(service: Service, sql: asyncpg.Connection) -> None:
    """Nothing is held and nothing is left behind."""
    assert service.memory.in_use_bytes == 0
    assert await sql.fetchval("SELECT count(*) FROM uploads") == 0
    assert await sql.fetchval("SELECT count(*) FROM upload_chunks") == 0
    await assert_references_exact(sql)


async def test_every_file_becomes_an_object(service: Service, sql: asyncpg.Connection) -> None:
    large = content(120_000)  # dozens of chunks
    parts: list[Part] = [
        ("owner", None, b"ann"),
        ("metadata", None, b'{"album": "x"}'),
        ("files", "a.png", b"first"),
        ("name", None, b"the second"),
        ("files", "b.png", large),
        ("owner", None, b"bob"),
        ("other", "c.png", b""),
    ]
    status, answer = await send(service, encoded(*parts))
    assert status == 201
    told = [(item["field"], item["filename"], item["status"]) for item in answer["results"]]
    assert told == [("files", "a.png", 201), ("files", "b.png", 201), ("other", "c.png", 201)]
    made = [item["object"] for item in answer["results"]]
    assert [(o["name"], o["owner"], o["metadata"], o["size"]) for o in made] == [
        ("a.png", "ann", {"album": "x"}, 5),
        ("the second", "ann", {"album": "x"}, 120_000),
        ("c.png", "bob", {"album": "x"}, 0),
    ]
    assert {o["content_type"] for o in made} == {"image/png"}
    assert [await bytes_of(service, o) for o in made] == [b"first", large, b""]
    assert await sql.fetchval("SELECT count(*) FROM objects") == 3
    await check_exact(service, sql)


async def test_aiohttps_own_form_data(service: Service, sql: asyncpg.Connection) -> None:
    form = aiohttp.FormData(quote_fields=False)  # as browsers do
    form.add_field("owner", "ann")
    form.add_field("f", content(50_000), filename="é b.jpg", content_type="image/jpeg")
    form.add_field("f", b"x" * 500, filename="c.txt", content_type="text/plain; charset=utf-8")
    answer = await service.client.post("/v1/objects", data=form, headers=service.bearer)
    assert answer.status == 201
    one, two = [item["object"] for item in (await answer.json())["results"]]
    assert (one["content_type"], two["content_type"]) == ("image/jpeg", "text/plain; charset=utf-8")
    assert one["name"] == "é b.jpg"
    assert await bytes_of(service, one) == content(50_000)


async def test_one_file_has_a_location(service: Service) -> None:
    answer = await service.client.post(
        "/v1/objects", data=encoded(("f", "a", b"x")), headers={**service.bearer, **FORM}
    )
    made = (await answer.json())["results"][0]["object"]
    assert answer.headers["Location"] == made["links"]["self"]


async def test_many_small_files_are_two_transactions(
    service: Service, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    fetch = service.catalog.fetch

    async def counted(query: str, *arguments: object) -> list[asyncpg.Record]:
        asked.append(query)
        return await fetch(query, *arguments)

    monkeypatch.setattr(service.catalog, "fetch", counted)
    files = [content(100 + number, number) for number in range(100)]
    parts: list[Part] = [("f", f"{number}", data) for number, data in enumerate(files)]
    status, answer = await send(service, encoded(*parts))
    assert status == 201
    assert [item["object"]["name"] for item in answer["results"]] == [f"{n}" for n in range(100)]
    assert asked == ["bodies_begin", "bodies_finish"]
    assert len(service.kept._held) == 100
    for number in (0, 57, 99):
        assert await bytes_of(service, answer["results"][number]["object"]) == files[number]
    await check_exact(service, sql)

    asked.clear()
    status, again = await send(service, encoded(*parts))
    assert asked == ["bodies_begin"]
    blobs = [item["object"]["blob"] for item in answer["results"]]
    assert [item["object"]["blob"] for item in again["results"]] == blobs
    assert await sql.fetchval("SELECT count(*) FROM objects") == 200
    await check_exact(service, sql)


async def test_equal_files_in_one_form_are_stored_once(
    service: Service, sql: asyncpg.Connection
) -> None:
    same = [("f", f"{number}", b"the same bytes") for number in range(7)]
    empty = [("f", f"e{number}", b"") for number in range(3)]
    status, answer = await send(service, encoded(*same, ("f", "x", b"other"), *empty))
    assert status == 201
    assert len({item["object"]["id"] for item in answer["results"]}) == 11
    assert len(service.kept._held) == 2
    assert await sql.fetchval("SELECT max(refs) FROM blobs") == 7
    await check_exact(service, sql)
    await sql.fetch("SELECT * FROM references_release_v1(1000)")
    assert await sql.fetchval("SELECT max(refs) FROM chunks") == 1
    await check_exact(service, sql)


async def test_a_sha_256_is_checked_and_kept(service: Service, sql: asyncpg.Connection) -> None:
    digest = sha256(b"checked").hexdigest().encode()
    parts: list[Part] = [
        ("f", "a", b"one"),
        ("sha-256", None, digest),
        ("f", "b", b"checked"),
        ("sha-256", None, digest),
        ("f", "c", b"not that"),
        ("f", "d", b"two"),
    ]
    status, answer = await send(service, encoded(*parts))
    assert status == 207
    assert [item["status"] for item in answer["results"]] == [201, 201, 400, 201]
    assert answer["results"][2]["problem"]["code"] == "bad_digest"
    assert await sql.fetchval("SELECT digest FROM blob_digests") == bytes.fromhex(digest.decode())
    await check_exact(service, sql)


async def test_a_bad_file_fails_alone(service: Service, sql: asyncpg.Connection) -> None:
    parts: list[Part] = [
        ("f", "a", b"good"),
        ("blake3", None, b"0" * 64),
        ("f", "b", b"not that hash"),
        ("blake3", None, b"0" * 64),
        ("f", "c", content(30_000)),
        ("metadata", None, b"{"),
        ("f", "d", b"no metadata"),
        ("f", "e", content(30_000, 5)),
        ("metadata", None, b"{}"),
        ("f", "g", b"good again"),
    ]
    status, answer = await send(service, encoded(*parts))
    assert status == 207
    told = [item.get("problem", {}).get("code", "made") for item in answer["results"]]
    assert told == ["made", "bad_digest", "bad_digest", "bad_metadata", "bad_metadata", "made"]
    assert [item["status"] for item in answer["results"]] == [201, 400, 400, 400, 400, 201]
    assert await sql.fetchval("SELECT count(*) FROM objects") == 2
    await check_exact(service, sql)


async def test_a_form_of_which_nothing_was_made_is_a_problem(service: Service) -> None:
    parts: list[Part] = [("blake3", None, b"0" * 64), ("f", "b", b"not that hash")]
    status, answer = await send(service, encoded(*parts))
    assert (status, answer["code"]) == (400, "bad_digest")
    assert [item["problem"]["code"] for item in answer["results"]] == ["bad_digest"]


@pytest.mark.parametrize(
    ("parts", "code", "made"),
    [
        ([], "bad_form", 0),
        ([("owner", None, b"ann")], "bad_form", 0),
        ([("f", "a", b"x"), ("owner", None, b"ann")], "bad_form", 1),
        ([("f", "a", b"x"), ("csrf", None, b"1"), ("f", "b", b"y")], "bad_form", 1),
        ([("name", None, b"1"), ("name", None, b"1"), ("f", "b", b"y")], "bad_form", 0),
        ([("owner", None, b"\xff"), ("f", "b", b"y")], "bad_form", 0),
        ([("f", "a", b"x"), ("metadata", None, b" " * 100_000)], "too_large", 1),
    ],
)
async def test_a_form_that_is_not_valid_ends_there(
    service: Service, sql: asyncpg.Connection, parts: list[Part], code: str, made: int
) -> None:
    status, answer = await send(service, encoded(*parts))
    assert (status, answer["code"]) == (413 if code == "too_large" else 400, code)
    assert sum("object" in item for item in answer.get("results", ())) == made
    assert await sql.fetchval("SELECT count(*) FROM objects") == made
    await check_exact(service, sql)


async def test_a_file_that_was_not_chosen_is_passed_over(service: Service) -> None:
    parts: list[Part] = [("name", None, b"n"), ("f", "", b""), ("f", "a", b"x")]
    status, answer = await send(service, encoded(*parts))
    assert status == 201
    assert [item["object"]["name"] for item in answer["results"]] == ["a"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", encoded(("f", "a", b"x"))),
        ('multipart/form-data; boundary="a\tb"', encoded(("f", "a", b"x"))),
        (f"multipart/form-data; boundary={'x' * 71}", encoded(("f", "a", b"x"))),
        ("multipart/form-data; boundary=other", encoded(("f", "a", b"x"))),
        (FORM["Content-Type"], b""),
        (FORM["Content-Type"], encoded(("f", "a", b"x"), end=False)),
        (FORM["Content-Type"], b"x" * 500_000),
        (FORM["Content-Type"], encoded(("f", "a", b"x")) + b"x" * 2_000_000),
        (FORM["Content-Type"], f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--".encode()),
        (FORM["Content-Type"], f"--{BOUNDARY}\r\n{'x' * 100_000}".encode()),
        (FORM["Content-Type"], f"--{BOUNDARY}\r\n".encode() + b"X-A: b\r\n" * 20),
    ],
)
async def test_what_is_no_form(
    service: Service, sql: asyncpg.Connection, content_type: str, body: bytes
) -> None:
    status, answer = await send(service, body, **{"Content-Type": content_type})
    assert (status, answer["code"]) in ((400, "bad_form"), (413, "too_large"))
    await check_exact(service, sql)


async def test_encoded_content_is_refused(service: Service) -> None:
    body = encoded(("f", "a", b"eA==")).replace(
        b"Content-Type: image/png", b"Content-Transfer-Encoding: base64"
    )
    status, answer = await send(service, body)
    assert (status, answer["code"]) == (400, "bad_form")


async def test_more_parts_than_allowed(start: Starter, sql: asyncpg.Connection) -> None:
    service = await start(uploads={"form_parts_max": 3})
    parts: list[Part] = [("f", f"{number}", b"x") for number in range(4)]
    status, answer = await send(service, encoded(*parts))
    assert (status, answer["code"]) == (413, "too_large")
    assert len(answer["results"]) == 3
    await check_exact(service, sql)


async def test_a_file_larger_than_allowed(start: Starter, sql: asyncpg.Connection) -> None:
    service = await start(uploads={"size_max_bytes": 20_000})
    parts: list[Part] = [("f", "a", b"x"), ("f", "b", content(20_001)), ("f", "c", b"y")]
    status, answer = await send(service, encoded(*parts))
    assert (status, answer["code"]) == (413, "too_large")
    assert [item["status"] for item in answer["results"]] == [201, 413]
    await check_exact(service, sql)


async def test_the_query_holds_for_all_files(service: Service) -> None:
    body = encoded(("f", "a", b"x"), ("owner", None, b"bob"), ("f", "b", b"y"))
    status, answer = await send(service, body, query='?owner=ann&metadata={"a":"b"}')
    assert status == 201
    assert [item["object"]["owner"] for item in answer["results"]] == ["ann", "bob"]
    assert answer["results"][1]["object"]["metadata"] == {"a": "b"}
    status, answer = await send(service, body, query="?name=x")
    assert (status, answer["code"]) == (400, "bad_request")
    status, answer = await send(service, body, query="?metadata=x")
    assert (status, answer["code"]) == (400, "bad_metadata")


async def test_a_form_needs_a_key(service: Service) -> None:
    answer = await service.client.post("/v1/objects", data=encoded(("f", "a", b"x")), headers=FORM)
    assert (answer.status, (await answer.json())["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
async def test_a_digest_of_the_form_is_not_passed_over(
    service: Service, sql: asyncpg.Connection, field: str
) -> None:
    """It is of no file; and when the form's end shows that it is wrong, its files are stored."""
    form = encoded(("f", "a.png", b"x"))
    status, answer = await send(service, form, **{field: "sha-256=:AAAA:"})
    assert (status, answer["code"]) == (400, "bad_request")
    assert await sql.fetchval("SELECT count(*) FROM objects") == 0


async def test_sending_a_form_again_with_its_idempotency_key(
    service: Service, sql: asyncpg.Connection
) -> None:
    parts: list[Part] = [("f", "a", b"one"), ("f", "b", content(50_000)), ("f", "c", b"three")]
    key = {"Idempotency-Key": "k1"}
    cut = encoded(*parts[:2], end=False) + encoded(parts[2])[:-30]
    assert (await send(service, cut, **key))[0] == 400
    assert await sql.fetchval("SELECT count(*) FROM objects") == 2
    status, answer = await send(service, encoded(*parts), **key)
    assert status == 201
    assert [item["status"] for item in answer["results"]] == [200, 200, 201]
    assert await send(service, encoded(*parts), **key) == (
        201,
        {"results": [{**item, "status": 200} for item in answer["results"]]},
    )
    assert await sql.fetchval("SELECT count(*) FROM objects") == 3
    together = await asyncio.gather(
        *(send(service, encoded(*parts), **{"Idempotency-Key": "k2"}) for _ in range(4))
    )
    ids = {tuple(item["object"]["id"] for item in answer["results"]) for _, answer in together}
    assert len(ids) == 1
    assert await sql.fetchval("SELECT count(*) FROM objects") == 6
    await check_exact(service, sql)


async def test_a_connection_that_breaks_keeps_the_files_that_were_whole(
    service: Service, sql: asyncpg.Connection
) -> None:
    whole = encoded(("f", "a", b"small"), ("f", "b", content(50_000)), ("f", "c", b"s"), end=False)
    _, writer = await asyncio.open_connection("127.0.0.1", service.client.port)
    writer.write(
        f"POST /v1/objects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
        f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: 900000\r\n\r\n".encode()
        + whole
        + encoded(("f", "d", content(30_000, 3)), end=False)[:-10]
    )
    await writer.drain()
    await until(lambda: len(service.kept._held) > 10)
    writer.close()
    await writer.wait_closed()
    await until(lambda: not service.uploads._bodies)
    names = await sql.fetch("SELECT name FROM objects ORDER BY name")
    assert [row["name"] for row in names] == ["a", "b", "c"]
    await check_exact(service, sql)


async def test_a_form_that_stops_coming(start: Starter, sql: asyncpg.Connection) -> None:
    service = await start(http={"body_idle_timeout_seconds": 0.2})

    async def slow() -> AsyncIterator[bytes]:
        yield encoded(("f", "a", b"small"), ("f", "b", b"cut"), end=False)[:-1]
        await asyncio.sleep(20)

    status, answer = await send(service, slow())
    assert (status, answer["code"]) == (408, "request_timeout")
    assert [item["object"]["name"] for item in answer["results"]] == ["a"]
    await check_exact(service, sql)


async def test_stopping_keeps_the_files_that_were_whole(
    service: Service, sql: asyncpg.Connection
) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield encoded(("f", "a", b"small"), ("f", "b", content(30_000)), end=False)[:-20]
        await asyncio.sleep(20)

    sending = asyncio.create_task(send(service, slow()))
    await until(lambda: len(service.kept._held) > 0 or bool(service.uploads._bodies))
    await until(lambda: any(b.received_bytes > 30_000 for b in service.uploads._bodies.values()))
    await service.uploads.stop()
    status, answer = await sending
    assert (status, answer["code"]) == (503, "shutting_down")
    assert [item["object"]["name"] for item in answer["results"]] == ["a"]
    await check_exact(service, sql)


async def test_a_part_that_is_multipart_is_content(
    service: Service, sql: asyncpg.Connection
) -> None:
    inner = b"--in\r\nContent-Disposition: form-data; name=x\r\n\r\ny\r\n--in--\r\n"
    body = encoded(("f", "a", inner)).replace(b"image/png", b"multipart/mixed; boundary=in")
    status, answer = await send(service, body)
    made = answer["results"][0]["object"]
    assert (status, made["content_type"]) == (201, "multipart/mixed; boundary=in")
    assert await bytes_of(service, made) == inner


async def test_the_answer_is_json(service: Service) -> None:
    answer = await service.client.post(
        "/v1/objects", data=encoded(("f", "a", b"x")), headers={**service.bearer, **FORM}
    )
    assert answer.content_type == "application/json"
    assert json.loads(await answer.read())["results"][0]["field"] == "f"


async def test_a_form_is_a_form_although_ios_offers_to_resume_it(service: Service) -> None:
    resumable = {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "6"}
    status, answer = await send(service, encoded(("f", "a", b"x")), **resumable)
    assert status == 201
    assert [item["object"]["name"] for item in answer["results"]] == ["a"]
