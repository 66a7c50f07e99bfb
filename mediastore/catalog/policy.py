"""A tenant's policy: what its uploads may be, and whom of the app they are told to.

Kept as JSON in the tenant's row. A member that is not given falls back to the service's settings.
"""

import json
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mediastore.errors import BadRequest, InvariantBroken
from mediastore.http_sections import CorsOrigin
from mediastore.settings import DAY_SECONDS

Expiry = Literal["sliding", "fixed"]
TypeMismatch = Literal["trust", "correct", "refuse"]

URL_LENGTH_MAX = 2048
CONTENT_TYPES_MAX = 64
PRESETS_MAX = 100
CORS_ORIGINS_MAX = 100
_TYPE_PATTERN = r"^[!#$%&'+.^_`|~0-9a-z-]+/([!#$%&'+.^_`|~0-9a-z-]+|\*)$"


def _split(value: object) -> object:
    """The command line gives a list as text with commas."""
    if isinstance(value, str):
        return tuple(part.strip().lower() for part in value.split(","))
    return value


def _split_pairs(value: object) -> object:
    """The command line gives names and values as text."""
    if isinstance(value, str):
        pairs = (part.strip().partition("=") for part in value.split(","))
        return {name: meaning for name, _, meaning in pairs}
    return value


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("must be an http or https URL without a user")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be a URL in printable ASCII")
    return url


Url = Annotated[str, Field(max_length=URL_LENGTH_MAX), AfterValidator(_checked_url)]
ContentTypes = Annotated[
    tuple[Annotated[str, Field(pattern=_TYPE_PATTERN)], ...],
    Field(min_length=1, max_length=CONTENT_TYPES_MAX),
    BeforeValidator(_split),
]
CorsOrigins = Annotated[
    tuple[CorsOrigin, ...],
    Field(min_length=1, max_length=CORS_ORIGINS_MAX),
    BeforeValidator(_split),
]
Presets = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")],
        Annotated[str, Field(max_length=256)],
    ],
    Field(min_length=1, max_length=PRESETS_MAX),
    BeforeValidator(_split_pairs),
]


class TenantPolicy(BaseModel):
    """The members that a tenant has of its own."""

    # What a newer version has written is passed over: old and new code run side by side.
    model_config = ConfigDict(extra="ignore", frozen=True)

    upload_expires_seconds: int | None = Field(
        None,
        ge=60,
        le=365 * DAY_SECONDS,
        description="An upload expires after this; without, `uploads.expires_seconds`.",
    )
    upload_expiry: Expiry | None = Field(
        None,
        description="`sliding`: every request with data begins the time anew; `fixed`: it runs "
        "from the creation. Without, `uploads.expiry`.",
    )
    size_max_bytes: int | None = Field(
        None, ge=1, description="Largest object; never more than `uploads.size_max_bytes`."
    )
    content_types: ContentTypes | None = Field(
        None, description="Types that are taken, with commas: `image/*,application/pdf`."
    )
    type_mismatch: TypeMismatch | None = Field(
        None,
        description="When content is not of its declared type: `trust` the declaration, `correct` "
        "it, or `refuse` the upload. Without, `uploads.type_mismatch`.",
    )
    cors_origins: CorsOrigins | None = Field(
        None,
        description="Whose pages may read the tenant's media, with commas: "
        "`https://app.example.com`, `https://*.example.com` or `*`. Without, "
        "`cors.allowed_origins`.",
    )
    image_presets: Presets | None = Field(
        None,
        description="Named transforms, with commas: `card=fill-300x200,hero=fit-1600x0`; before "
        "those of `images.presets`.",
    )
    keep_capture_time: bool | None = Field(
        None,
        description="`true`: when a picture was taken is kept and shown, if its camera has said "
        "so. Without, it is not.",
    )
    before_create_url: Url | None = Field(
        None, description="Asked before anything is created: it allows, changes or denies."
    )
    webhook_url: Url | None = Field(None, description="Gets the tenant's events.")

    @classmethod
    def from_json(cls, text: str) -> Self:
        """As it stands in a row. Raises InvariantBroken for what was never written by `changed`."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvariantBroken(f"a tenant's policy is not valid: {_wrong(error)}") from None

    def changed(self, changes: dict[str, Any]) -> Self:
        """With these members replaced; None takes one away. Raises BadRequest."""
        known = type(self).model_fields
        for name in changes:
            if name not in known:
                raise BadRequest(f"a policy has {', '.join(known)}; not {name!r}")
        try:
            return type(self).model_validate(self.model_dump() | changes)
        except ValidationError as error:
            raise BadRequest(_wrong(error)) from None

    def as_json(self) -> str:
        """What is given, and nothing else: members that are absent follow the settings."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True))

    @property
    def is_signed_for(self) -> bool:
        """Is the app ever called? Then the tenant needs a secret to sign with."""
        return self.webhook_url is not None or self.before_create_url is not None


def _wrong(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False)
    )
