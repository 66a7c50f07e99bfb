"""The section of the settings about telling CDNs what to forget."""

import re
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from mediastore.sections import DAY_SECONDS, Section

Url = Annotated[str, Field(pattern=r"^https?://[!-~]+[^/\s]$", max_length=2048)]
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32,128}={0,2}")
_GO_TOGETHER = (
    ("fastly_service_id", "fastly_token"),
    ("cloudflare_zone_id", "cloudflare_token"),
    ("cloudfront_access_key_id", "cloudfront_secret_access_key"),
    ("webhook_url", "webhook_secret"),
)


class PurgeSettings(Section):
    """Telling CDNs to forget what was deleted. Every CDN that is named here is told; none by
    default. How often a purge is tried is in `events`, as is whether this process sends them.
    """

    fastly_service_id: str | None = Field(None, description="Fastly: the service.")
    fastly_token: SecretStr | None = Field(
        None, description="Fastly: an API token that may purge (`purge_select`)."
    )
    fastly_soft: bool = Field(
        True,
        description="Fastly: the first purge only marks as stale, so that it may be served once "
        "more while Fastly asks here; the second one, after again_seconds, never does.",
    )
    fastly_url: Url = Field("https://api.fastly.com", description="Fastly: its interface.")
    cloudflare_zone_id: str | None = Field(None, description="Cloudflare: the zone.")
    cloudflare_token: SecretStr | None = Field(
        None, description="Cloudflare: an API token that may purge the zone's cache."
    )
    cloudflare_url: Url = Field(
        "https://api.cloudflare.com/client/v4", description="Cloudflare: its interface."
    )
    cloudfront_distribution_id: str | None = Field(
        None,
        description="CloudFront: the distribution; it needs CacheTagConfig with the header name "
        "Cache-Tag.",
    )
    cloudfront_access_key_id: str | None = Field(
        None, description="CloudFront: unset for botocore's usual chain."
    )
    cloudfront_secret_access_key: SecretStr | None = Field(
        None, description="CloudFront: goes with cloudfront_access_key_id."
    )
    cloudfront_endpoint_url: Url | None = Field(
        None, description="CloudFront: its interface; unset for AWS."
    )
    webhook_url: Url | None = Field(None, description="Any other CDN: a program of yours.")
    webhook_secret: SecretStr | None = Field(
        None,
        description="Signs the messages to webhook_url as Standard Webhooks has it: `whsec_` and "
        "at least 24 random bytes in base64.",
    )
    requests_per_second: float = Field(
        2,
        gt=0,
        le=1000,
        description="Calls to each CDN, of all processes together, at most; each has 100 purges "
        "or more.",
    )
    timeout_seconds: float = Field(10, gt=0, le=30, description="How long one call may take.")
    again_seconds: float = Field(
        90,
        ge=0,
        le=DAY_SECONDS,
        description="Every purge is sent a second time after this, for what was on its way to a "
        "CDN when it was deleted; longer than delivery.allowed_cache_seconds. 0: once.",
    )

    @field_validator("webhook_secret")
    @classmethod
    def _is_a_webhook_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not _WEBHOOK_SECRET.fullmatch(secret.get_secret_value()):
            raise ValueError("is whsec_ and at least 24 bytes in base64")
        return secret

    @model_validator(mode="after")
    def _what_goes_together(self) -> Self:
        for name, other in _GO_TOGETHER:
            if (getattr(self, name) is None) != (getattr(self, other) is None):
                raise ValueError(f"{name} and {other} go together")
        return self

    @property
    def tag_headers(self) -> dict[str, str]:
        """The header that each CDN named here finds its tags in."""
        named = {
            "fastly": (self.fastly_service_id, "Surrogate-Key"),
            "cloudflare": (self.cloudflare_zone_id, "Cache-Tag"),
            "cloudfront": (self.cloudfront_distribution_id, "Cache-Tag"),
        }
        return {cdn: header for cdn, (name, header) in named.items() if name is not None}
