"""The s3 driver's one door for other people's exceptions and for S3's error answers.

What comes out is ChunkStoreUnavailable or StorageFull; what a call itself expects (a missing key, a
failed condition) is decided by the call, from the `Refusal`, before it gets here.
Messages name the operation, the status and S3's error code: never keys, buckets or hosts, because
they may reach a client. The log has the rest through `__cause__`.
"""

import re
from dataclasses import dataclass
from types import TracebackType

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from mediastore.errors import ChunkStoreUnavailable, StorageFull

TRANSLATED = (
    BotoCoreError,
    ClientError,
    ResponseParserError,  # not a BotoCoreError: something between us and S3 answered for it
    aiohttp.ClientError,
    TimeoutError,
    OSError,
)
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,100})\s*</Code>")
_FULL_STATUS = 507
_FULL_CODES = frozenset(
    {
        "XMinioStorageFull",
        "XMinioAdminBucketQuotaExceeded",
        "QuotaExceeded",  # Ceph
        "InsufficientStorage",
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of S3 that is not a success."""

    status: int
    code: str  # "" when the answer has none, as to HEAD

    @classmethod
    def of(cls, status: int, body: bytes) -> "Refusal":
        """Read S3's XML error document; all that matters of it is <Code>."""
        match = _CODE.search(body)
        return cls(status, match[1].decode() if match else "")

    @classmethod
    def of_client_error(cls, error: ClientError) -> "Refusal":
        metadata = error.response.get("ResponseMetadata", {})
        code = error.response.get("Error", {}).get("Code", "")
        return cls(int(metadata.get("HTTPStatusCode", 0)), str(code))

    @property
    def names_missing_key(self) -> bool:
        """A 404 for the key; one for the bucket (NoSuchBucket) must never look like it."""
        return self.status == 404 and self.code == "NoSuchKey"

    @property
    def names_failed_condition(self) -> bool:
        return self.status == 412 or (
            self.status == 409 and self.code == "ConditionalRequestConflict"
        )

    def error(self, operation: str) -> ChunkStoreUnavailable | StorageFull:
        if self.status == _FULL_STATUS or self.code in _FULL_CODES:
            return StorageFull()
        answer = f"{self.status} {self.code}".rstrip()
        return ChunkStoreUnavailable(f"the chunk store answered {answer} to {operation}")


class translated:  # noqa: N801  (reads as a statement: `with translated("put"):`)
    """Turn every exception of aiohttp, botocore and the sockets below them into ours."""

    __slots__ = ("_operation",)

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, ClientError):
            raise Refusal.of_client_error(error).error(self._operation) from error
        if isinstance(error, TRANSLATED):
            name = type(error).__name__
            raise ChunkStoreUnavailable(
                f"the chunk store failed {self._operation}: {name}"
            ) from error
