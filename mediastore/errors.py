"""Every error that a user can meet: one class is one row of the table in docs/errors.md.

A class carries its stable `code`, its HTTP status and its command-line exit code; its docstring's
first line is the default message. Drivers' exceptions leave through one door for each driver.
Families: BadRequest (the caller's fault), Conflict (ask, then retry), Unavailable (retry after a
while), Broken (rows or bytes are not what they must be); FAMILIES are in modules of their own.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, ClassVar

# Modules mediastore/…_errors.py.
FAMILIES = ("policy", "tus", "ietf", "request", "joining", "origin", "collector", "image")


class MediastoreError(Exception):
    """Something went wrong inside mediastore."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retry_after_seconds: ClassVar[int | None] = None
    type_uri: ClassVar[str | None] = None  # of a problem type that is registered elsewhere

    def __init__(self, detail: str | None = None, **members: Any) -> None:
        """`detail` is one sentence for this occurrence; `members` go into the problem document."""
        self.detail = detail if detail is not None else self.message()
        self.members = members
        super().__init__(self.detail)

    @classmethod
    def message(cls) -> str:
        return (cls.__doc__ or cls.code).strip().splitlines()[0]


class BadRequest(MediastoreError):
    """The request is not valid."""

    code = "bad_request"
    status = 400
    exit_code = 2


class BadSettings(BadRequest):
    """The settings are not valid."""

    code = "bad_settings"


class BadMetadata(BadRequest):
    """The metadata is not valid."""

    code = "bad_metadata"


class BadLength(BadRequest):
    """A length or offset is missing, malformed or contradicts what was declared."""

    code = "bad_length"


class BadCursor(BadRequest):
    """The page cursor is not one that this service gave out."""

    code = "bad_cursor"


class BadDigest(BadRequest):
    """The bytes received do not have the digest that was declared; nothing was stored for them."""

    code = "bad_digest"


class BadChecksum(BadRequest):
    """A checksum or digest field is not valid, or its algorithm is not known."""

    code = "bad_checksum"


class ChecksumMismatch(BadRequest):
    """The request's body does not have the checksum sent with it; nothing of it was kept."""

    code = "checksum_mismatch"
    status = 460  # tus, Extensions: Checksum


class Unauthorized(BadRequest):
    """An API key is needed: send it as 'Authorization: Bearer KEY'."""

    code = "unauthorized"
    status = 401


class NotFound(BadRequest):
    """There is nothing here, or it is not yours."""

    code = "not_found"
    status = 404
    exit_code = 4


class MethodNotAllowed(BadRequest):
    """This URL does not take that method."""

    code = "method_not_allowed"
    status = 405


class Gone(BadRequest):
    """It was here and has been deleted."""

    code = "gone"
    status = 410


class PreconditionFailed(BadRequest):
    """A precondition that the request named is false."""

    code = "precondition_failed"
    status = 412


class UnsupportedTusVersion(BadRequest):
    """This server speaks tus 1.0.0."""

    code = "unsupported_tus_version"
    status = 412


class TooLarge(BadRequest):
    """The body is larger than this service or tenant accepts."""

    code = "too_large"
    status = 413


class UnsupportedMediaType(BadRequest):
    """The Content-Type is not one that this URL takes."""

    code = "unsupported_media_type"
    status = 415


class RangeNotSatisfiable(BadRequest):
    """The range lies outside of the content."""

    code = "range_not_satisfiable"
    status = 416


class RequestTimeout(BadRequest):
    """The body came too slowly; what had arrived is kept, resume at the upload's offset."""

    code = "request_timeout"
    status = 408


class Conflict(MediastoreError):
    """The state has changed meanwhile."""

    code = "conflict"
    status = 409
    exit_code = 5


class OffsetMismatch(Conflict):
    """The request's offset is not the upload's offset; ask for it with HEAD and resume there."""

    code = "offset_mismatch"


class UploadTaken(Conflict):
    """Another request has taken this upload over; ask for the offset with HEAD and resume there."""

    code = "upload_taken"


class UploadFinishing(Conflict):
    """The upload has all its bytes and is being finished; ask again in a moment."""

    code = "upload_finishing"
    retry_after_seconds = 1


class IdempotencyKeyInUse(Conflict):
    """Another request with this Idempotency-Key is making its object; ask again for the answer."""

    code = "idempotency_key_in_use"
    retry_after_seconds = 1


class ChunkChanged(Conflict):
    """A chunk of the batch changed between intent and commit; the batch is tried again inside."""

    code = "chunk_changed"


class Unavailable(MediastoreError):
    """The service cannot answer this just now; try again."""

    code = "unavailable"
    status = 503
    exit_code = 10
    retry_after_seconds = 2


class Overloaded(Unavailable):
    """Too much is going on at once; try again."""

    code = "overloaded"


class TooManyRequests(Unavailable):
    """Too many requests of this tenant are in progress; try again."""

    code = "too_many_requests"
    status = 429


class TooManyUploads(Unavailable):
    """This tenant has too many unfinished uploads; finish or drop some."""

    code = "too_many_uploads"
    status = 429
    retry_after_seconds = 30


class CatalogUnavailable(Unavailable):
    """The database cannot be reached or does not answer in time."""

    code = "catalog_unavailable"


class ChunkStoreUnavailable(Unavailable):
    """The chunk store cannot be reached, refuses or does not answer in time."""

    code = "chunk_store_unavailable"


class StorageFull(Unavailable):
    """The chunk store has no room left."""

    code = "storage_full"
    status = 507
    retry_after_seconds = 30


class ShuttingDown(Unavailable):
    """This process is stopping; send the request again."""

    code = "shutting_down"


class Broken(MediastoreError):
    """What is stored is not what it must be."""

    code = "broken"
    exit_code = 20


class InvariantBroken(Broken):
    """A rule that must hold in the catalog does not; nothing was deleted. Please report this."""

    code = "invariant_broken"


class ContentDamaged(Broken):
    """Stored bytes do not have the hash that names them; none of them were sent."""

    code = "content_damaged"


class ContentMissing(Broken):
    """Bytes that the catalog promises are not in the chunk store."""

    code = "content_missing"


class SchemaMismatch(Broken):
    """The database's schema is not one that this version can run on; run 'mediastore migrate'."""

    code = "schema_mismatch"
    exit_code = 21


def every_error(kind: type[MediastoreError] = MediastoreError) -> Iterator[type[MediastoreError]]:
    """The whole table, parents before children."""
    for family in FAMILIES:
        _ = import_module(f"mediastore.{family}_errors")
    yield kind
    for child in kind.__subclasses__():
        yield from every_error(child)
