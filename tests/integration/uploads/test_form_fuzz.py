"""Forms that are bent and broken, sent to the whole service: always a stable code, nothing left."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mediastore.app_keys import MEMORY
from mediastore.uploads.keys import UPLOADS
from tests.integration.service import Service, make_tenant, running, settings_on, until
from tests.integration.uploads.test_form import FORM, Part, encoded
from tests.recount_exact import assert_references_exact

STATUSES = {201, 207, 400, 413}
CODES = {"bad_form", "bad_request", "bad_digest", "bad_metadata", "too_large"}

fields = st.tuples(
    st.sampled_from(["owner", "metadata", "name", "blake3", "x", ""]),
    st.none(),
    st.sampled_from([b"", b"ann", b"{}", b'{"a": 1}', b"[", b"0" * 64, b"\xff"]),
)
files = st.tuples(
    st.just("f"),
    st.sampled_from(["a", "", "b.jpg", "é", "%0A", "\x01"]),
    st.binary(max_size=40) | st.sampled_from([b"same", bytes(1024), bytes(1025), bytes(30_000)]),
)
forms = st.lists(files | fields, max_size=8)
changes = st.lists(
    st.tuples(st.integers(0, 5000), st.sampled_from([0, 10, 13, 34, 45, 59, 99, 255])), max_size=3
)


def test_whatever_form_comes(dsn: str, tmp_path: Path) -> None:
    with asyncio.Runner() as runner, capture_logs() as logged:
        stack = AsyncExitStack()
        config = settings_on(dsn, tmp_path)
        key = runner.run(make_tenant(config, "acme"))
        service: Service = runner.run(stack.enter_async_context(running(config)))

        @settings(
            max_examples=150,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(forms, changes, st.none() | st.integers(0, 5000), st.none() | st.just("k"))
        def examine(
            parts: list[Part], changed: list[tuple[int, int]], cut: int | None, repeat: str | None
        ) -> None:
            body = bytearray(encoded(*parts))
            for place, byte in changed:
                body[place % len(body)] = byte
            runner.run(sent(service, key, bytes(body), cut, repeat))

        try:
            examine()
            runner.run(nothing_left(dsn))
        finally:
            runner.run(stack.aclose())
        assert [line for line in logged if line["log_level"] == "error"] == []


async def sent(
    service: Service, key: str, body: bytes, cut: int | None, repeat: str | None
) -> None:
    lines = [
        "POST /v1/objects HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {key}",
        f"Content-Type: {FORM['Content-Type']}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *([] if repeat is None else [f"Idempotency-Key: {repeat}"]),
    ]
    head = "\r\n".join([*lines, "", ""]).encode()
    request = head + body
    if cut is None:
        check(await service.raw(request))
    else:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(request[: len(head) + cut % (len(body) + 1)])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    await until(lambda: not service.app[UPLOADS]._bodies)
    assert service.app[MEMORY].in_use_bytes == 0


def check(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    told: dict[str, Any] = json.loads(body)
    assert status in STATUSES, told
    assert ("code" in told) == (status >= 400)
    for problem in [told] * ("code" in told) + [
        item["problem"] for item in told.get("results", ()) if "problem" in item
    ]:
        assert problem["code"] in CODES
        assert problem["status"] in STATUSES


async def nothing_left(dsn: str) -> None:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn)
    try:
        await assert_references_exact(connection)
        for table in ("uploads", "upload_chunks"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
        assert await connection.fetchval("SELECT count(*) FROM objects") > 0
    finally:
        await connection.close()
