"""The settings of the collector: a section like those of sections.py."""

from pathlib import Path

from pydantic import Field

from mediastore.sections import DAY_SECONDS, GIB, HOUR_SECONDS, Section


class CollectionSettings(Section):
    """The delays and brakes of the garbage collector. All are measured on the database's clock."""

    revive_delay_seconds: int = Field(
        24 * HOUR_SECONDS,
        ge=0,
        description="A blob nobody references stays this long; an upload of it brings it back.",
    )
    recovery_window_seconds: int = Field(
        7 * DAY_SECONDS,
        ge=0,
        description="How far back the database may be restored without losing a byte (INV-6); "
        "set it to at least what your backups reach.",
    )
    recovery_margin_seconds: int = Field(
        1 * HOUR_SECONDS, ge=0, description="Added to the recovery window."
    )
    clock_skew_max_seconds: float = Field(
        300, gt=0, description="Database and host clocks further apart stop the collector."
    )
    delete_share_max: float = Field(
        0.25, gt=0, le=1, description="A run that would delete more of all bytes stops and asks."
    )
    delete_share_floor_bytes: int = Field(
        1 * GIB, ge=0, description="Below this much, delete_share_max is not applied."
    )
    blob_quarantine_max: int = Field(
        1000,
        ge=0,
        description="Blobs that are counted too low are put aside; with more of them nothing is "
        "collected, as counts as a whole are in doubt.",
    )
    versioned_bucket: bool = Field(
        False,
        description="The bucket keeps versions on purpose, and a lifecycle rule of its own expires "
        "old ones; otherwise a versioned bucket is refused.",
    )
    claim_timeout_seconds: int = Field(
        900, ge=60, description="A claim this old is taken up by another collector."
    )
    erasure_wait_seconds: int = Field(
        12 * HOUR_SECONDS,
        ge=0,
        le=DAY_SECONDS,
        description="Erased bytes wait for a recount to share; after this long one is made.",
    )
    erasure_key_file: Path | None = Field(
        None,
        description="Ed25519 private key (PEM) that signs receipts of erasures; "
        "'openssl genpkey -algorithm ed25519' makes one.",
    )
    erasures_kept_seconds: int = Field(
        400 * DAY_SECONDS,
        ge=DAY_SECONDS,
        description="Complete erasures, and the store's records of them, are forgotten after this; "
        "longer than any backup of the database is kept.",
    )
    variants_unused_seconds: int = Field(
        30 * DAY_SECONDS,
        ge=2 * DAY_SECONDS,
        description="Variants that nobody has asked for go after this; they are made again when "
        "somebody does. Use is noted once a day.",
    )
    batch_keys: int = Field(1000, ge=1, le=1000, description="Keys of one DeleteObjects.")
    batch_entries: int = Field(
        1000, ge=1, le=10_000, description="References released in one transaction."
    )
    events_kept_seconds: int = Field(
        30 * DAY_SECONDS,
        ge=HOUR_SECONDS,
        description="Events that were parked, or whose tenant has no webhook, go after this.",
    )
    recount_page_entries: int = Field(
        20_000, ge=100, description="References a recount reads at a time."
    )
    recount_rate_rows_per_second: int = Field(
        0, ge=0, description="Pace of a recount; 0 is as fast as it goes."
    )

    @property
    def window_seconds(self) -> int:
        """How long a doomed key waits (INV-6)."""
        return self.recovery_window_seconds + self.recovery_margin_seconds
