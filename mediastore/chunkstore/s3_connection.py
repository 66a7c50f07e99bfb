"""How the s3 driver reaches S3: credentials, addresses, connections, one signed request.

Two clients share one session's credentials. aiobotocore's serves what is rare (listings) and
says where the bucket is (its rules for regions, partitions and addressing styles). What is
frequent, requests for one object and deletes of many, goes through aiohttp directly with our own
signature: the same bytes on the wire for a fifth of the CPU (docs/performance.md).
"""

import asyncio
import hashlib
import ssl
import urllib.parse
import urllib.request
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from botocore.httpsession import get_cert_path
from multidict import CIMultiDictProxy
from yarl import URL

from mediastore.chunkstore.s3_translation import translated
from mediastore.chunkstore.sigv4 import UNSIGNED_PAYLOAD, Credentials, Signer
from mediastore.clock import Clock
from mediastore.errors import ChunkStoreUnavailable
from mediastore.settings import KIB, MIB, ChunkStoreSettings

BODY_MAX_BYTES = 32 * MIB  # twice the largest chunk that settings allow
BODY_TRANSFER_SECONDS_MAX = 60.0  # the slowest link we wait for moves the largest chunk in this
BODY_SLICE_BYTES = 256 * KIB
KEEPALIVE_SECONDS = 12.0  # less than S3 keeps an idle connection
USER_AGENT = "mediastore"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class _SlicedBody(Payload):
    """A large body written in slices: aiohttp writes `bytes` in one go, which stalls the loop for
    milliseconds and costs more CPU (copies of what the socket does not take at once).
    """

    def __init__(self, body: bytes | memoryview) -> None:
        super().__init__(body)
        self._body = memoryview(body)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._body).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        body = self._body if content_length is None else self._body[:content_length]
        for start in range(0, len(body), BODY_SLICE_BYTES):
            await writer.write(body[start : start + BODY_SLICE_BYTES])


@dataclass(frozen=True, slots=True)
class _Reached:
    """What exists once credentials are known."""

    session: AioSession
    client: Any  # botocore generates its clients' classes
    http: aiohttp.ClientSession
    origin: str  # scheme, host, port
    host: str
    bucket_path: str  # percent-encoded
    object_path: str  # the same with the settings' prefix; a key is appended as it is


class S3Connection:
    """Connects at the first use, so that a service starts while S3 or its credentials are away."""

    def __init__(self, settings: ChunkStoreSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._signer = Signer(settings.region)
        self._reached: _Reached | None = None
        self._reaching = asyncio.Lock()
        self._resources = AsyncExitStack()

    async def request(
        self,
        method: str,
        key: str,
        headers: dict[str, str],
        *,
        body: bytes | memoryview = b"",
        name: str,
    ) -> Answer:
        """One signed request for one object; any status is an answer. `name` is the operation's.

        `headers` have lower-case names. Raises ChunkStoreUnavailable, also for a body cut short
        or of unknown or excessive length.
        """
        with translated(name):
            reached = self._reached or await self._reach()
            return await self._send(reached, method, reached.object_path + key, "", headers, body)

    async def post_to_bucket(
        self, subresource: str, headers: dict[str, str], body: bytes, *, name: str
    ) -> Answer:
        """The same for a request to the bucket itself, `POST /bucket?subresource`."""
        with translated(name):
            reached = self._reached or await self._reach()
            return await self._send(
                reached, "POST", reached.bucket_path, subresource, headers, body
            )

    async def client(self) -> Any:
        """aiobotocore's S3 client. Use inside `translated`."""
        return (self._reached or await self._reach()).client

    async def close(self) -> None:
        self._reached = None
        await self._resources.aclose()

    async def _send(
        self,
        reached: _Reached,
        method: str,
        path: str,
        subresource: str,
        headers: dict[str, str],
        body: bytes | memoryview,
    ) -> Answer:
        signed = self._signer.sign(
            method,
            path,
            {"host": reached.host, **headers},
            subresource=subresource,
            payload=self._payload_hash(body),
            credentials=await _credentials(reached.session),
            now=self._clock.now(),
        )
        query = f"?{subresource}" if subresource else ""
        async with reached.http.request(
            method,
            URL(reached.origin + path + query, encoded=True),
            data=_data(body) if method in {"PUT", "POST"} else None,
            headers=signed,
            allow_redirects=False,
        ) as response:
            received = b"" if method == "HEAD" else await _read(response)
            return Answer(response.status, response.headers, received)

    def _payload_hash(self, body: bytes | memoryview) -> str:
        return hashlib.sha256(body).hexdigest() if self._settings.sign_payload else UNSIGNED_PAYLOAD

    async def _reach(self) -> _Reached:
        async with self._reaching:
            if self._reached is None:
                async with AsyncExitStack() as resources:
                    self._reached = await self._open(resources)
                    self._resources = resources.pop_all()
            return self._reached

    async def _open(self, resources: AsyncExitStack) -> _Reached:
        settings = self._settings
        session = get_session()
        # Reads ~/.aws/config, which blocks; the answer is kept in the session.
        ca_bundle = await asyncio.to_thread(session.get_config_variable, "ca_bundle")
        if settings.access_key_id is not None and settings.secret_access_key is not None:
            session.set_credentials(
                settings.access_key_id, settings.secret_access_key.get_secret_value()
            )
        await _credentials(session)
        client = await resources.enter_async_context(
            session.create_client(
                "s3",
                region_name=settings.region,
                endpoint_url=settings.endpoint_url,
                config=_client_config(settings),
            )
        )
        # The documented way to learn where botocore would send a request for this bucket.
        example = await client.generate_presigned_url(
            "get_object", Params={"Bucket": settings.bucket, "Key": "k"}
        )
        url = urllib.parse.urlsplit(example)
        origin = f"{url.scheme}://{url.netloc}"
        root = url.path.removesuffix("k")
        object_path = root + urllib.parse.quote(settings.prefix, safe="/~")
        trust = await asyncio.to_thread(
            ssl.create_default_context, cafile=ca_bundle or get_cert_path(True)
        )
        http = await resources.enter_async_context(_http_session(settings, trust, origin))
        bucket_path = root.rstrip("/") or "/"
        return _Reached(session, client, http, origin, url.netloc, bucket_path, object_path)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. Errors of S3 come without a length; nothing comes without a bound."""
    too_large = "the chunk store's answer is too large"
    if response.content_length is not None:
        if response.content_length > BODY_MAX_BYTES:
            raise ChunkStoreUnavailable(too_large)
        return await response.read()
    received = bytearray()
    async for piece in response.content.iter_any():
        received += piece
        if len(received) > BODY_MAX_BYTES:
            raise ChunkStoreUnavailable(too_large)
    return bytes(received)


def _data(body: bytes | memoryview) -> bytes | _SlicedBody:
    return _SlicedBody(body) if len(body) > BODY_SLICE_BYTES else bytes(body)


async def _credentials(session: AioSession) -> Credentials:
    """The session's credentials, refreshed when they are about to expire."""
    found = await session.get_credentials()
    if found is None:
        raise ChunkStoreUnavailable("there are no credentials for the chunk store")
    frozen = await found.get_frozen_credentials()
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


def _client_config(settings: ChunkStoreSettings) -> AioConfig:
    return AioConfig(
        signature_version="s3v4",
        s3={
            "addressing_style": "path" if settings.path_style else "virtual",
            "payload_signing_enabled": settings.sign_payload,
            "us_east_1_regional_endpoint": "regional",
        },
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1, "mode": "standard"},  # the retrying wrapper retries
        max_pool_connections=settings.connections_max,
        connect_timeout=settings.connect_timeout_seconds,
        read_timeout=settings.read_timeout_seconds,
        warm_up_loader_caches=True,  # in a thread: botocore's models are megabytes of JSON
    )


def _http_session(
    settings: ChunkStoreSettings, trust: ssl.SSLContext, origin: str
) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(
        # sock_read does not watch a body that the store stops taking, so all of it is bounded too
        total=settings.connect_timeout_seconds
        + settings.read_timeout_seconds
        + BODY_TRANSFER_SECONDS_MAX,
        sock_connect=settings.connect_timeout_seconds,
        sock_read=settings.read_timeout_seconds,
    )
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=settings.connections_max, keepalive_timeout=KEEPALIVE_SECONDS, ssl=trust
        ),
        timeout=timeout,
        proxy=_proxy(origin),
        headers={"user-agent": USER_AGENT},
        skip_auto_headers={"content-type", "accept", "accept-encoding"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=BODY_MAX_BYTES,  # bodies are read whole; pausing the socket costs a tenth
    )


def _proxy(origin: str) -> str | None:
    """The proxy that the environment names for `origin`, looked up once."""
    url = urllib.parse.urlsplit(origin)
    if urllib.request.proxy_bypass(url.netloc):
        return None
    return urllib.request.getproxies().get(url.scheme)
