"""The settings of pulls: a section like those of sections.py."""

from pydantic import Field

from mediastore.sections import GIB, Section


class PullSettings(Section):
    """Content that this service fetches from a URL when a client asks it to."""

    hosts: tuple[str, ...] = Field(
        (),
        description="Hosts it may be fetched from: names, or `*.example.com` for all names below "
        "one. Empty: nothing is fetched.",
    )
    ports: tuple[int, ...] = Field((443,), description="Ports it may be fetched from.")
    allow_http: bool = Field(False, description="Take http URLs too; add port 80 to `ports`.")
    allow_private_addresses: bool = Field(
        False,
        description="Connect to loopback, private and other special addresses: for tests, or for "
        "a network where every host that `hosts` names may be asked by every client.",
    )
    size_max_bytes: int = Field(16 * GIB, ge=1, description="Largest content that is fetched.")
    duration_max_seconds: float = Field(
        900, gt=0, description="How long all of a pull may take; its request waits for it."
    )
    connect_timeout_seconds: float = Field(
        10, gt=0, description="Time for the name, the connection and TLS, and for the answer."
    )
    attempts_max: int = Field(
        4, ge=1, le=20, description="Requests of one pull, redirects not counted."
    )
    retry_delay_seconds: float = Field(
        1, ge=0, description="Pause before the second request; doubles."
    )
    redirects_max: int = Field(3, ge=0, le=10, description="Redirects followed by one request.")
    at_once_max: int = Field(8, ge=0, description="Pulls under way; more are answered 503.")
