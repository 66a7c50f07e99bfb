"""The sections of the settings about what mediastore asks and tells the app: hooks and events."""

from pydantic import Field

from mediastore.sections import HOUR_SECONDS, KIB, Section


class HooksSettings(Section):
    """Asking the app before an upload is created (a tenant's `before_create_url`)."""

    timeout_seconds: float = Field(
        5, gt=0, le=60, description="How long the app may take, waiting for a place included."
    )
    concurrency_max: int = Field(64, ge=1, description="Questions under way at once; more wait.")
    answer_max_bytes: int = Field(64 * KIB, ge=1 * KIB, description="Largest answer that is read.")
    fail_open: bool = Field(
        False,
        description="When the app does not answer as it should: `false` refuses the upload with "
        "503, `true` creates it as if there were no hook.",
    )


class EventsSettings(Section):
    """Telling the app what has happened (a tenant's `webhook_url`)."""

    deliver: bool = Field(True, description="Does this process deliver events?")
    poll_seconds: float = Field(1, gt=0, description="Pause between looks for new events.")
    timeout_seconds: float = Field(10, gt=0, le=300, description="How long one delivery may take.")
    concurrency_max: int = Field(64, ge=1, description="Deliveries of this process at once.")
    tenant_concurrency_max: int = Field(
        8, ge=1, description="Deliveries at once to one tenant, so that none holds up the others."
    )
    claim_timeout_seconds: float = Field(
        120,
        ge=10,
        description="A delivery whose process died is tried again after this; longer than "
        "timeout_seconds.",
    )
    attempts_max: int = Field(
        12, ge=1, le=100, description="Tries of one event; then it is parked until somebody looks."
    )
    retry_delay_seconds: float = Field(
        5, gt=0, description="Pause after the first try that failed; four times longer each time."
    )
    retry_delay_max_seconds: float = Field(
        6 * HOUR_SECONDS, gt=0, description="Longest pause between tries."
    )
