"""The sections of the settings: every setting with its default, unit and reason.

docs/settings.md is generated from this file and from those of sections of their own.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS


class Section(BaseModel):
    """A group of settings; unknown names are refused, so a typing error does not pass unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CatalogSettings(Section):
    """The Postgres database."""

    dsn: SecretStr = Field(
        SecretStr("postgresql:///mediastore"), description="libpq URI of the primary."
    )
    pool_size_min: int = Field(2, ge=0, description="Connections kept open.")
    pool_size_max: int = Field(16, ge=1, description="Connections at most; more callers wait.")
    acquire_timeout_seconds: float = Field(
        5, gt=0, description="How long a caller waits for a connection before 503."
    )
    statement_timeout_seconds: float = Field(
        15, gt=0, description="A statement that runs longer is cancelled."
    )
    lock_timeout_seconds: float = Field(
        5, gt=0, description="A statement that waits longer for a row lock is cancelled."
    )
    retries_max: int = Field(
        8, ge=0, description="Tries again after a deadlock or serialization failure."
    )


class ChunkStoreSettings(Section):
    """Where chunks are kept."""

    driver: Literal["directory", "s3", "memory"] = Field(
        "directory", description="`memory` forgets everything at exit: for tests."
    )
    directory: Path = Field(Path("data/chunks"), description="Folder of the directory driver.")
    bucket: str = Field("mediastore", description="Bucket of the s3 driver.")
    prefix: str = Field("", description="Put before every key in the bucket.")
    endpoint_url: str | None = Field(None, description="S3 endpoint; unset for AWS.")
    region: str = Field("us-east-1", description="S3 region.")
    access_key_id: str | None = Field(
        None, description="Unset: botocore's usual chain (environment, profile, instance role)."
    )
    secret_access_key: SecretStr | None = Field(None, description="Goes with access_key_id.")
    sign_payload: bool = Field(
        False, description="SHA-256 every body for the signature; needed only without TLS."
    )
    path_style: bool = Field(False, description="Bucket in the path, as MinIO and others want it.")
    connections_max: int = Field(64, ge=1, description="S3 connections of this process.")
    connect_timeout_seconds: float = Field(3, gt=0, description="Time to connect to S3.")
    read_timeout_seconds: float = Field(20, gt=0, description="Silence from S3 that ends a call.")
    concurrency_max: int = Field(
        64, ge=1, description="Chunk store calls under way at once; more wait."
    )
    waiting_max: int = Field(
        1024, ge=0, description="Calls that may wait for a place; more are answered 503."
    )
    attempts_max: int = Field(4, ge=1, description="Tries of one call, the first included.")
    retry_delay_seconds: float = Field(
        0.1, gt=0, description="Middle of the first random pause between tries; doubles."
    )
    retry_delay_max_seconds: float = Field(5, gt=0, description="Longest pause between tries.")


class ChunkingSettings(Section):
    """How content is cut. Changing these never changes a blob's id, only what can be shared."""

    size_min_bytes: int = Field(1 * MIB, ge=64, le=1 * MIB, description="Smallest cut.")
    size_average_bytes: int = Field(
        4 * MIB, ge=256, le=4 * MIB, description="FastCDC's normal point."
    )
    size_max_bytes: int = Field(8 * MIB, ge=1024, le=16 * MIB, description="Largest chunk.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.size_min_bytes < self.size_average_bytes < self.size_max_bytes:
            raise ValueError("chunking needs size_min_bytes < size_average_bytes < size_max_bytes")
        return self


class UploadSettings(Section):
    """Resumable uploads and one-request uploads."""

    size_max_bytes: int = Field(
        1024 * GIB, ge=1, description="Largest object; a tenant may have a lower limit."
    )
    expires_seconds: int = Field(
        7 * DAY_SECONDS,
        ge=60,
        le=3650 * DAY_SECONDS,
        description="An upload is dropped after this; tenants may differ.",
    )
    expiry: Literal["sliding", "fixed"] = Field(
        "sliding",
        description="`sliding`: every request with data begins that time anew; `fixed`: it runs "
        "from the creation. Tenants may differ.",
    )
    type_mismatch: Literal["trust", "correct", "refuse"] = Field(
        "trust",
        description="When content is not of its declared type: `trust` the declaration, `correct` "
        "it, or `refuse` the upload. Tenants may differ.",
    )
    batch_max_bytes: int = Field(
        16 * MIB, ge=64 * KIB, description="Bytes of one intent, PUT, commit round of one upload."
    )
    batches_at_once_max: int = Field(
        2,
        ge=1,
        le=16,
        description="Batches of one upload that are stored at once, while the next one fills. "
        "Memory of one upload is about one batch more than these.",
    )
    metadata_max_bytes: int = Field(
        8 * KIB, ge=0, description="Largest metadata of an object, as JSON."
    )
    takeover_hashers_max: int = Field(
        4096, ge=0, description="Uploads whose running hash a process keeps between requests."
    )
    open_max_per_tenant: int = Field(
        100_000,
        ge=1,
        description="Unfinished uploads of one tenant; with more, new ones are answered 429. "
        "Counted every half minute.",
    )
    hand_over_wait_seconds: float = Field(
        0.5,
        ge=0,
        le=10,
        description="How long HEAD waits at most for an older request to store what it has "
        "received; 0 never waits.",
    )
    finishing_wait_seconds: float = Field(
        30, ge=0, description="How long a request waits for a large upload's last hashing."
    )
    parts_max: int = Field(
        100, ge=1, le=1000, description="Partial uploads that one final upload may name."
    )
    fragments_max: int = Field(
        4096,
        ge=16,
        le=100_000,
        description="Pieces an open upload may have while they are small; it is re-chunked before "
        "it takes more.",
    )
    rechunk_fragments_min: int = Field(
        16,
        ge=2,
        le=10_000,
        description="An upload of more small pieces is re-chunked at its end.",
    )
    rechunk_below_share: float = Field(
        0.125,
        gt=0,
        le=0.25,
        description="Pieces are small while their mean is below this share of "
        "chunking.size_average_bytes.",
    )
    body_rate_min_bytes_per_second: int = Field(
        1024, ge=0, description="A body slower than this over rate_window_seconds is cut."
    )
    rate_window_seconds: float = Field(30, gt=0, description="Window of the minimum rate.")
    form_parts_max: int = Field(
        1000, ge=1, description="Parts of one multipart/form-data body, fields and files together."
    )
    group_bodies_max: int = Field(
        128, ge=1, le=1000, description="Small files of a form that are stored together."
    )
    group_body_max_bytes: int = Field(
        1 * MIB,
        ge=0,
        description="Largest file that waits for others; one above chunking.size_min_bytes "
        "never does.",
    )
    interim_responses: Literal["matching", "on", "off"] = Field(
        "matching",
        description="104 responses of IETF uploads: to clients that send an interop version, to "
        "all, to none. nginx with `proxy_http_version 1.1` takes them for answers: turn them off.",
    )
    interim_interval_seconds: float = Field(
        1, ge=0, description="Least time between two 104 responses that tell of progress."
    )
    resumable_size_min_bytes: int = Field(
        0, ge=0, description="IETF uploads in one request below this are not made resumable."
    )
    append_size_min_bytes: int = Field(
        0, ge=0, description="Least content of a request of an IETF upload that does not end it."
    )
    append_size_max_bytes: int | None = Field(
        None, ge=1, description="Largest content of one request of an IETF upload; unset: no limit."
    )

    @model_validator(mode="after")
    def _some_append_fits(self) -> Self:
        largest = self.append_size_max_bytes
        if largest is not None and largest < self.append_size_min_bytes:
            raise ValueError("append_size_max_bytes is below append_size_min_bytes")
        return self


class MemorySettings(Section):
    """What bodies and chunks in flight may hold in this process, caches apart."""

    budget_bytes: int = Field(
        256 * MIB, ge=32 * MIB, description="Buffers of all uploads and downloads together."
    )
    wait_max_seconds: float = Field(
        10, gt=0, description="How long a new body waits for memory before 503."
    )
    reads_share: float = Field(
        0.125, ge=0, le=0.5, description="Share of the budget that bodies leave to reads."
    )
    chunk_cache_bytes: int = Field(
        96 * MIB, ge=0, description="Verified chunks kept for the next reader."
    )
    spool_directory: Path | None = Field(
        None, description="Where slow readers' chunks wait (unlinked files); unset: the system's."
    )
    spool_after_seconds: float = Field(
        1.0, ge=0, description="A reader that holds a chunk longer has it spooled to disk."
    )


class DeliverySettings(Section):
    """Reads by the app and by the CDN."""

    allowed_cache_seconds: float = Field(
        2, ge=0, le=60, description="How long 'this tenant may read that' is believed unasked."
    )
    allowed_cache_entries_max: int = Field(100_000, ge=0, description="Entries of that cache.")
    read_ahead_chunks: int = Field(
        1,
        ge=0,
        le=16,
        description="Chunks fetched before they are due; one more while the client outruns the "
        "store.",
    )
    ranges_max: int = Field(
        16, ge=1, le=100, description="Ranges of one request; with more, all of it is sent."
    )
    page_size_max: int = Field(1000, ge=1, le=10_000, description="Largest page of a listing.")
    disk_cache_directory: Path | None = Field(
        None,
        description="Folder of a local disk where chunks that were read stay for the next reader; "
        "unset: none. All processes of a machine may share it.",
    )
    disk_cache_bytes: int = Field(
        16 * GIB, ge=64 * MIB, description="What that folder may take of the disk."
    )
    disk_cache_seconds: int = Field(
        7 * DAY_SECONDS,
        ge=60,
        description="A chunk leaves the folder this long after it was put there, used or not: what "
        "was erased is gone from it by then.",
    )


class LogSettings(Section):
    """Logs go to standard error, one JSON object a line, or readable text on a terminal."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is console on a terminal and JSON elsewhere."
    )
