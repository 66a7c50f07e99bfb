"""The sections of the settings about serving a CDN: signed links, and what caches are told."""

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from mediastore.sections import DAY_SECONDS, HOUR_SECONDS, Section

YEAR_SECONDS = 365 * DAY_SECONDS
TagHeader = Literal["Cache-Tag", "Surrogate-Key", "xkey"]


class LinkKey(Section):
    """A secret that links are signed with, and the name that links know it by."""

    id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="`kid` of its links.")
    secret: SecretStr = Field(
        min_length=32, max_length=1024, description="At least 32 random characters."
    )


class LinksSettings(Section):
    """Signed links to media."""

    keys: Annotated[tuple[LinkKey, ...], Field(max_length=8)] = Field(
        (),
        description='`[{id = "2026a", secret = "…"}]`. The first one signs, all are good: put a '
        "new one in front, and take the old one away when its links have expired.",
    )
    signing: Literal["required", "off"] = Field(
        "required",
        description="`off` lets everybody ask for any transform of a public tenant's pictures: "
        "not for the open internet. Private tenants' links are signed in any case.",
    )
    expires_seconds: int = Field(
        HOUR_SECONDS, ge=1, le=10 * YEAR_SECONDS, description="For a link that asks for no time."
    )
    expires_seconds_max: int = Field(
        YEAR_SECONDS,
        ge=1,
        le=10 * YEAR_SECONDS,
        description="Longest time that a link may be good for; longer ones open nothing.",
    )
    expires_step_seconds: int = Field(
        HOUR_SECONDS,
        ge=1,
        le=DAY_SECONDS,
        description="Expiry is rounded up to a multiple of this, so that a CDN sees one URL for "
        "all links made meanwhile.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("two of links.keys have the same id")
        if self.expires_seconds > self.expires_seconds_max:
            raise ValueError("links.expires_seconds is above links.expires_seconds_max")
        return self


class CdnSettings(Section):
    """What a CDN in front of public and signed media is told."""

    max_age_seconds: int = Field(
        YEAR_SECONDS, ge=0, le=YEAR_SECONDS, description="How long it may keep a blob unasked."
    )
    stale_while_revalidate_seconds: int = Field(
        DAY_SECONDS, ge=0, le=YEAR_SECONDS, description="Then still served while it asks."
    )
    stale_if_error_seconds: int = Field(
        7 * DAY_SECONDS,
        ge=0,
        le=YEAR_SECONDS,
        description="And while this service does not answer.",
    )
    tag_headers: tuple[TagHeader, ...] = Field(
        ("Cache-Tag", "Surrogate-Key", "xkey"),
        description="Headers that carry the tags of an answer: Cloudflare and CloudFront, Fastly, "
        "Varnish. Name the one that your CDN reads.",
    )
