"""The s3 driver against a server that answers as scripted: what is sent, and bad answers."""

import asyncio
import base64
import hashlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import ConditionFailed, DeleteResult, Entry, MissingKey
from mediastore.chunkstore.s3 import S3ChunkStore
from mediastore.chunkstore.s3_connection import BODY_SLICE_BYTES
from mediastore.errors import ChunkStoreUnavailable, StorageFull
from mediastore.settings import ChunkStoreSettings
from tests.unit.chunkstore.fake_clock import FakeClock

KEY = chunk_key(bytes(32), 1)
KEYS = [chunk_key(bytes([n]) * 32, n) for n in range(3)]
DOCUMENT = "_mediastore/collector"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ScriptedS3:
    """Answers with `answers` in turn, then 200; keeps what it was sent."""

    url: str = ""
    answers: list[Handler] = field(default_factory=list)
    seen: list[tuple[web.Request, bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request, await request.read()))
        if self.answers:
            return await self.answers.pop(0)(request)
        return web.Response(headers={"ETag": '"e"'})

    def answer(self, status: int, code: str = "", body: str = "") -> None:
        text = body or (f"<Error><Code>{code}</Code></Error>" if code else "")

        async def respond(_request: web.Request) -> web.Response:
            return web.Response(status=status, text=text, content_type="application/xml")

        self.answers.append(respond)

    def answer_raw(self, raw: bytes) -> None:
        """Bytes on the wire, then the connection is closed."""

        async def respond(request: web.Request) -> web.StreamResponse:
            if request.transport is not None:
                request.transport.write(raw)
                request.transport.close()
            return web.Response()

        self.answers.append(respond)


@pytest.fixture
async def s3() -> AsyncIterator[ScriptedS3]:
    scripted = ScriptedS3()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", scripted.handle)
    async with TestServer(app) as server:
        scripted.url = str(server.make_url("")).rstrip("/")
        yield scripted


def settings(url: str, **changes: object) -> ChunkStoreSettings:
    return ChunkStoreSettings.model_validate(
        {
            "driver": "s3",
            "endpoint_url": url,
            "bucket": "media",
            "access_key_id": "key",
            "secret_access_key": "secret",
            "path_style": True,
            **changes,
        }
    )


@pytest.fixture
async def store(s3: ScriptedS3) -> AsyncIterator[S3ChunkStore]:
    opened = S3ChunkStore(settings(s3.url), FakeClock())
    yield opened
    await opened.close()


@pytest.mark.parametrize("size", [0, 5, BODY_SLICE_BYTES, 3 * BODY_SLICE_BYTES + 1])
async def test_a_put_carries_the_callers_crc_and_no_hash_of_the_body(
    s3: ScriptedS3, store: S3ChunkStore, size: int
) -> None:
    body = bytes(size)
    await store.put(KEY, body, crc32=0x01020304)
    [(request, received)] = s3.seen
    assert (request.method, request.path, received) == ("PUT", f"/media/{KEY}", body)
    assert request.headers["x-amz-checksum-crc32"] == base64.b64encode(b"\1\2\3\4").decode()
    assert request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert request.headers["Content-Length"] == str(size)
    assert not {"Content-MD5", "Transfer-Encoding", "Expect"} & set(request.headers)


async def test_with_sign_payload_the_body_is_in_the_signature(s3: ScriptedS3) -> None:
    store = S3ChunkStore(settings(s3.url, sign_payload=True), FakeClock())
    await store.put(KEY, b"body", crc32=0)
    assert s3.seen[0][0].headers["x-amz-content-sha256"] == hashlib.sha256(b"body").hexdigest()
    await store.close()


async def test_without_sign_payload_nothing_hashes_a_body(
    s3: ScriptedS3, store: S3ChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(KEY, b"connects", crc32=0)
    lengths: list[int] = []
    original = hashlib.sha256

    def counting(data: bytes = b"", **options: bool) -> object:
        lengths.append(len(data))
        return original(data, **options)

    monkeypatch.setattr("hashlib.sha256", counting)
    await store.put(KEY, bytes(100_000), crc32=0)
    assert lengths
    assert max(lengths) < 2000  # the canonical request


async def test_conditions_are_sent(s3: ScriptedS3, store: S3ChunkStore) -> None:
    assert await store.put_if(DOCUMENT, b"x", version=None) == '"e"'
    await store.put_if(DOCUMENT, b"x", version='"old"')
    assert s3.seen[0][0].headers["if-none-match"] == "*"
    assert s3.seen[1][0].headers["if-match"] == '"old"'
    crc = base64.b64encode(zlib.crc32(b"x").to_bytes(4, "big")).decode()
    assert s3.seen[0][0].headers["x-amz-checksum-crc32"] == crc


@pytest.mark.parametrize(
    ("status", "code"),
    [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict"), (404, "NoSuchKey")],
)
async def test_failed_conditions(
    s3: ScriptedS3, store: S3ChunkStore, status: int, code: str
) -> None:
    s3.answer(status, code)
    with pytest.raises(ConditionFailed):
        await store.put_if(DOCUMENT, b"x", version='"old"')
    s3.answer(status, code)
    with pytest.raises(ChunkStoreUnavailable):  # of a put without condition it is nonsense
        await store.put(KEY, b"x", crc32=0)


async def test_a_missing_bucket_is_not_a_missing_key(s3: ScriptedS3, store: S3ChunkStore) -> None:
    s3.answer(404, "NoSuchKey")
    with pytest.raises(MissingKey):
        await store.get(KEY)
    for code in ("NoSuchBucket", ""):
        s3.answer(404, code)
        with pytest.raises(ChunkStoreUnavailable):
            await store.get(KEY)
        s3.answer(404)
        s3.answer(404, code)
        with pytest.raises(ChunkStoreUnavailable):
            await store.head(KEY)
        s3.answer(404, code)
        with pytest.raises(ChunkStoreUnavailable):
            await store.put_if(DOCUMENT, b"x", version=None)


async def test_a_head_that_finds_the_key_only_at_the_second_look(
    s3: ScriptedS3, store: S3ChunkStore
) -> None:
    s3.answer(404)
    s3.answer(200, body="12345")
    assert await store.head(KEY) == Entry(KEY, 5)


@pytest.mark.parametrize("status", [500, 503])
async def test_errors_are_not_retried_here(
    s3: ScriptedS3, store: S3ChunkStore, status: int
) -> None:
    for call in (
        lambda: store.put(KEY, b"x", crc32=0),
        lambda: store.get(KEY),
        lambda: store.head(KEY),
        lambda: store.delete_many(KEYS),
        lambda: anext(aiter(store.list())),
    ):
        s3.seen.clear()
        s3.answer(status, "SlowDown")
        with pytest.raises(ChunkStoreUnavailable):
            await call()
        assert len(s3.seen) == 1


async def test_a_full_store(s3: ScriptedS3, store: S3ChunkStore) -> None:
    for status, code in ((507, "XMinioStorageFull"), (403, "QuotaExceeded")):
        s3.answer(status, code)
        with pytest.raises(StorageFull):
            await store.put(KEY, b"x", crc32=0)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n\r\nof unknown length",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx",
        b"not http at all\r\n\r\n",
        b"",
    ],
)
async def test_a_body_that_is_not_whole_is_never_returned(
    s3: ScriptedS3, store: S3ChunkStore, raw: bytes
) -> None:
    for _ in range(2):  # aiohttp asks once more when a kept connection is closed without an answer
        s3.answer_raw(raw)
    with pytest.raises(ChunkStoreUnavailable):
        await store.get(KEY)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n0123456789a",
        b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n",
    ],
)
async def test_answers_are_bounded(
    s3: ScriptedS3, store: S3ChunkStore, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediastore.chunkstore.s3_connection.BODY_MAX_BYTES", 10)
    s3.answer_raw(raw)
    with pytest.raises(ChunkStoreUnavailable, match="too large"):
        await store.get(KEY)


async def test_redirects_are_not_followed(s3: ScriptedS3, store: S3ChunkStore) -> None:
    async def redirect(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"{s3.url}/elsewhere"})

    s3.answers.append(redirect)
    with pytest.raises(ChunkStoreUnavailable):
        await store.get(KEY)
    assert len(s3.seen) == 1


async def test_silence_ends_a_call(s3: ScriptedS3) -> None:
    store = S3ChunkStore(settings(s3.url, read_timeout_seconds=0.05), FakeClock())
    answered = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await answered.wait()
        return web.Response()

    for call in (lambda: store.get(KEY), lambda: store.delete_many([KEY])):
        s3.answers.append(hang)
        with pytest.raises(ChunkStoreUnavailable):
            await call()
    answered.set()
    await store.close()


async def test_a_server_that_is_not_there_and_comes_back(s3: ScriptedS3) -> None:
    async with TestServer(web.Application()) as gone:
        url = str(gone.make_url("")).rstrip("/")
        port = gone.port
    store = S3ChunkStore(settings(url), FakeClock())
    for call in (lambda: store.get(KEY), store.check, lambda: store.delete_many([KEY])):
        with pytest.raises(ChunkStoreUnavailable):
            await call()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", s3.handle)
    async with TestServer(app, port=port):
        await store.put(KEY, b"x", crc32=0)
    await store.close()


async def test_without_credentials_the_store_is_unavailable_until_there_are_some(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = S3ChunkStore(settings(s3.url, access_key_id=None, secret_access_key=None), FakeClock())
    with pytest.raises(ChunkStoreUnavailable, match="credentials"):
        await store.get(KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "temporary")
    await store.put(KEY, b"x", crc32=0)
    [(request, _)] = s3.seen
    assert "Credential=from-the-environment/" in request.headers["Authorization"]
    assert request.headers["x-amz-security-token"] == "temporary"
    await store.close()


async def test_each_deleted_key_has_its_own_fate(s3: ScriptedS3, store: S3ChunkStore) -> None:
    s3.answer(
        200,
        body=f"<DeleteResult><Deleted><Key>{KEYS[1]}</Key></Deleted>"
        f"<Error><Key>{KEYS[0]}</Key><Code>AccessDenied</Code></Error></DeleteResult>",
    )
    results = await store.delete_many(KEYS)
    assert results[0] == DeleteResult(KEYS[0], "AccessDenied")
    assert results[1].deleted
    assert not results[2].deleted  # neither deleted nor refused: not deleted
    [(request, body)] = s3.seen
    assert (request.method, request.raw_path) == ("POST", "/media?delete")
    assert b"Quiet" not in body
    assert request.headers["Content-MD5"] == (
        base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    )
    assert "x-amz-checksum-crc32" in request.headers


async def test_a_key_that_was_gone_counts_as_deleted(s3: ScriptedS3, store: S3ChunkStore) -> None:
    s3.answer(
        200,
        body=f"<DeleteResult><Error><Key>{KEY}</Key><Code>NoSuchKey</Code></Error></DeleteResult>",
    )
    assert await store.delete_many([KEY]) == [DeleteResult(KEY)]


@pytest.mark.parametrize("body", ["", "<html>sign in first</html>", "<oops"])
async def test_an_answer_that_is_no_listing_is_not_an_empty_one(
    s3: ScriptedS3, store: S3ChunkStore, body: str
) -> None:
    s3.answer(200, body=body)
    with pytest.raises(ChunkStoreUnavailable):
        await anext(aiter(store.list()))


@pytest.mark.parametrize("body", ["", "<html>sign in first</html>", "<oops"])
async def test_an_answer_that_is_no_result_of_a_delete_deletes_nothing(
    s3: ScriptedS3, store: S3ChunkStore, body: str
) -> None:
    s3.answer(200, body=body)
    try:
        results = await store.delete_many(KEYS)
    except ChunkStoreUnavailable:
        return
    assert not any(result.deleted for result in results)


async def test_check_needs_the_probe_back(s3: ScriptedS3, store: S3ChunkStore) -> None:
    s3.answer(200)
    s3.answer(200, body="something else")
    with pytest.raises(ChunkStoreUnavailable):
        await store.check()
    s3.answer(200)
    s3.answer(404, "NoSuchKey")
    with pytest.raises(ChunkStoreUnavailable):
        await store.check()


async def test_addresses(monkeypatch: pytest.MonkeyPatch, s3: ScriptedS3) -> None:
    """Prefixes are percent-encoded and an endpoint's own path stays."""
    store = S3ChunkStore(settings(f"{s3.url}/gateway", prefix="a b/é+/"), FakeClock())
    await store.put(KEY, b"x", crc32=0)
    assert s3.seen[0][0].raw_path == f"/gateway/media/a%20b/%C3%A9%2B/{KEY}"
    await store.close()
