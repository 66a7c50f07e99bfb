"""The s3 driver: Amazon S3, MinIO, Ceph and others that speak its protocol.

Needs s3:GetObject, PutObject, DeleteObject and ListBucket on the bucket. Every PUT carries the
CRC-32 that was computed where the body was hashed, so S3 refuses a body damaged on the way, and is
visible as a whole or not at all (S3's guarantee). Conditional puts need If-Match and If-None-Match,
which AWS, MinIO and Ceph have.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence

from mediastore.chunkstore.keys import DOCUMENT_PREFIX, require_document_key, require_key
from mediastore.chunkstore.protocol import (
    DELETE_KEYS_MAX,
    PAGE_ENTRIES_MAX,
    ConditionFailed,
    DeleteResult,
    Entry,
    MissingKey,
    Versioned,
)
from mediastore.chunkstore.s3_connection import Answer, S3Connection
from mediastore.chunkstore.s3_deletes import OPERATION, fates, request_document
from mediastore.chunkstore.s3_translation import Refusal, translated
from mediastore.clock import Clock
from mediastore.content import checksum
from mediastore.errors import ChunkStoreUnavailable
from mediastore.settings import ChunkStoreSettings

PROBE_KEY = f"{DOCUMENT_PREFIX}probe"
PROBE_BODY = b"mediastore writes and reads this to see that it can\n"


class S3ChunkStore:
    """One bucket, or the part of it under the settings' prefix."""

    def __init__(self, settings: ChunkStoreSettings, clock: Clock) -> None:
        self._bucket = settings.bucket
        self._prefix = settings.prefix
        self._connection = S3Connection(settings, clock)

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        await self._put(key, body, crc32, {}, name="put")

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        require_document_key(key)
        condition = {"if-none-match": "*"} if version is None else {"if-match": version}
        answer = await self._put(key, body, checksum.crc32(body), condition, name="put_if")
        return _etag(answer)

    async def get(self, key: str) -> bytes:
        return (await self._get(key, name="get")).body

    async def get_versioned(self, key: str) -> Versioned:
        require_document_key(key)
        answer = await self._get(key, name="get_versioned")
        return Versioned(answer.body, _etag(answer))

    async def head(self, key: str) -> Entry:
        require_key(key)
        answer = await self._connection.request("HEAD", key, {}, name="head")
        if answer.status == 200:
            return Entry(key, _content_length(answer))
        if answer.status == 404:
            # An answer to HEAD has no body, so it does not say whether the key or the whole bucket
            # is missing. A GET does; if it finds the key, that was put meanwhile.
            found = await self._get(key, name="head")
            return Entry(key, len(found.body))
        raise Refusal(answer.status, "").error("head")

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        if len(keys) > DELETE_KEYS_MAX:
            raise ValueError(f"at most {DELETE_KEYS_MAX} keys at once")
        for key in keys:
            require_key(key)
        if not keys:
            return []
        body = request_document(self._prefix + key for key in dict.fromkeys(keys))
        headers = {
            # DeleteObjects needs a checksum; older S3 servers know only the first of these
            "content-md5": _base64(hashlib.md5(body, usedforsecurity=False).digest()),
            "x-amz-checksum-crc32": _base64(checksum.crc32(body).to_bytes(4, "big")),
        }
        answer = await self._connection.post_to_bucket("delete", headers, body, name=OPERATION)
        if answer.status != 200:
            raise Refusal.of(answer.status, answer.body).error(OPERATION)
        found = fates(answer.body)
        return [
            DeleteResult(key, found.get(self._prefix + key, "the answer does not name this key"))
            for key in keys
        ]

    async def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        more = True
        while more:
            with translated("list"):
                client = await self._connection.client()
                answer = await client.list_objects_v2(
                    Bucket=self._bucket,
                    Prefix=self._prefix + prefix,
                    StartAfter=self._prefix + after if after else "",
                    MaxKeys=PAGE_ENTRIES_MAX,
                )
            if "IsTruncated" not in answer:
                raise ChunkStoreUnavailable("the chunk store's answer is not a listing")
            page = [
                Entry(found["Key"].removeprefix(self._prefix), found["Size"])
                for found in answer.get("Contents", [])
            ]
            if page:
                yield page
                after = page[-1].key
            # StartAfter instead of a continuation token: any page can be asked for again
            more = bool(page) and answer["IsTruncated"]

    async def check(self) -> None:
        await self.put(PROBE_KEY, PROBE_BODY, crc32=checksum.crc32(PROBE_BODY))
        try:
            found = await self.get(PROBE_KEY)
        except MissingKey:
            raise ChunkStoreUnavailable("the chunk store lost what was just written") from None
        if found != PROBE_BODY:
            raise ChunkStoreUnavailable("the chunk store does not return what was written")

    async def close(self) -> None:
        await self._connection.close()

    async def _put(
        self,
        key: str,
        body: bytes | memoryview,
        crc32: int,
        condition: dict[str, str],
        *,
        name: str,
    ) -> Answer:
        require_key(key)
        crc = _base64(crc32.to_bytes(4, "big"))
        answer = await self._connection.request(
            "PUT", key, {"x-amz-checksum-crc32": crc, **condition}, body=body, name=name
        )
        if answer.status == 200:
            return answer
        refusal = Refusal.of(answer.status, answer.body)
        # If-Match on a key that is not there is a 404
        if condition and (refusal.names_failed_condition or refusal.names_missing_key):
            raise ConditionFailed(key)
        raise refusal.error(name)

    async def _get(self, key: str, *, name: str) -> Answer:
        require_key(key)
        answer = await self._connection.request("GET", key, {}, name=name)
        if answer.status != 200:
            refusal = Refusal.of(answer.status, answer.body)
            raise MissingKey(key) if refusal.names_missing_key else refusal.error(name)
        if _content_length(answer) != len(answer.body):
            raise ChunkStoreUnavailable(
                "the chunk store sent a body of another length than it said"
            )
        return answer


def _content_length(answer: Answer) -> int:
    length = answer.headers.get("content-length", "")
    if not length.isdecimal():
        raise ChunkStoreUnavailable("the chunk store did not say how long the body is")
    return int(length)


def _etag(answer: Answer) -> str:
    etag = answer.headers.get("etag")
    if etag is None:
        raise ChunkStoreUnavailable("the chunk store sent no ETag")
    return etag


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
