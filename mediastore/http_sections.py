"""The sections of the settings that are about HTTP itself: sockets, proxies, other origins."""

from typing import Annotated, Literal, Self

from pydantic import Field, IPvAnyNetwork, model_validator

from mediastore.sections import KIB, Section

_ORIGIN = r"^(\*|[a-z][a-z0-9+.-]*://(\*\.)?([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)$"
CorsOrigin = Annotated[str, Field(pattern=_ORIGIN, max_length=300)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]


class HttpSettings(Section):
    """The service's own listening sockets and what a request may cost."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that share the port. Each has all that `memory`, "
        "`catalog.pool_size_max` and `requests_max` allow.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics listener.")
    metrics_port: int = Field(
        9464, ge=-1, le=65535, description="Port of /metrics; 0 takes a free one, -1 turns it off."
    )
    json_body_max_bytes: int = Field(64 * KIB, ge=1, description="Largest JSON request body.")
    requests_max: int = Field(
        2048, ge=1, description="Requests in progress at once; more are answered 503."
    )
    tenant_requests_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Share of requests_max that one tenant's requests may take; more are answered "
        "429, to tus clients 503.",
    )
    body_idle_timeout_seconds: float = Field(
        60, gt=0, description="A body that sends nothing for this long is cut; what came is kept."
    )
    send_idle_timeout_seconds: float = Field(
        60, gt=0, description="A reader that takes nothing for this long is cut off."
    )
    shutdown_grace_seconds: float = Field(
        30,
        ge=0,
        description="On SIGTERM, how long running requests may take to commit what they hold.",
    )
    shutdown_delay_seconds: float = Field(
        0,
        ge=0,
        description="On SIGTERM, how long to go on accepting with /readyz at 503, so that load "
        "balancers notice.",
    )
    public_url: str | None = Field(
        None, description="Base of every URL in an answer, whatever the request looked like."
    )
    base_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path in front of every URL in an answer: where a proxy that takes it off has "
        "the service.",
    )
    absolute_urls: bool = Field(
        False,
        description="URLs in answers name scheme and host as the client sees them; else they are "
        "paths.",
    )
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        (), description="Networks whose proxy_headers are believed, as CIDR; none by default."
    )
    proxy_headers: Literal["x-forwarded", "forwarded"] = Field(
        "x-forwarded",
        description="`forwarded` is RFC 7239. Name the one that your proxy writes: it passes the "
        "other on unseen.",
    )
    access_log: bool = Field(True, description="Write one log line for each request.")


class CorsSettings(Section):
    """Which web pages of other origins may talk to the service from a browser."""

    allowed_origins: tuple[CorsOrigin, ...] = Field(
        (),
        max_length=1000,
        description="`https://app.example.com`, `https://*.example.com` for every subdomain, or "
        "`*`; none turns CORS off.",
    )
    credentials: bool = Field(
        False, description="Let pages send cookies and client certificates; not with `*`."
    )
    max_age_seconds: int = Field(
        7200, ge=0, le=86400, description="How long a browser remembers a preflight's answer."
    )
    request_headers: tuple[HeaderName, ...] = Field(
        (), max_length=100, description="Headers that pages may send beside those of the protocols."
    )
    private_network: bool = Field(
        False, description="Let public pages reach the service at a private address."
    )

    @model_validator(mode="after")
    def _no_credentials_for_everybody(self) -> Self:
        if self.credentials and "*" in self.allowed_origins:
            raise ValueError("cors.credentials needs cors.allowed_origins without '*'")
        return self
