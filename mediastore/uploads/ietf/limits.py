"""What an upload may measure (section Limits): enforced here, told in Upload-Limit."""

from dataclasses import dataclass
from typing import Self

from mediastore.errors import TooLarge
from mediastore.ietf_errors import AppendTooSmall
from mediastore.settings import UploadSettings
from mediastore.uploads.ietf.dialects import Dialect
from mediastore.uploads.policy import UploadPolicy


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes; None or 0: no such limit."""

    size_max: int
    size_min: int
    append_max: int | None
    append_min: int
    lifetime_seconds: int

    @classmethod
    def of(cls, settings: UploadSettings, policy: UploadPolicy | None = None) -> Self:
        """The service's limits, or a tenant's where its policy is known."""
        own = policy or settings
        return cls(
            size_max=own.size_max_bytes,
            size_min=settings.resumable_size_min_bytes,
            append_max=settings.append_size_max_bytes,
            append_min=settings.append_size_min_bytes,
            lifetime_seconds=own.expires_seconds,
        )

    def field(self, dialect: Dialect, lifetime_seconds: float) -> str | None:
        """The value of Upload-Limit. None: this version of the draft has no such header.

        Never empty: there is always a largest size.
        """
        if dialect.lifetime_limit is None:
            return None
        limits = {
            "max-size": self.size_max,
            "min-size": self.size_min,
            "max-append-size": self.append_max,
            "min-append-size": self.append_min,
            dialect.lifetime_limit: max(0, int(lifetime_seconds)),
        }
        return ", ".join(f"{key}={value}" for key, value in limits.items() if value)

    def offers_resumption(self, length: int | None) -> bool:
        """Is content of this length worth an upload resource before it has come whole?"""
        return self.size_min == 0 or (length is not None and length >= self.size_min)

    def check_length(self, length: int | None) -> None:
        """Raises TooLarge."""
        if length is not None and length > self.size_max:
            raise TooLarge(f"an upload may have at most {self.size_max} bytes")

    def check_content(self, content_length: int | None, *, completes: bool, creates: bool) -> None:
        """The size of one request's content, as far as it says; more is refused when it comes.

        Raises TooLarge, AppendTooSmall.
        """
        if content_length is None:
            return
        if self.append_max is not None and content_length > self.append_max:
            raise TooLarge(f"one request may bring at most {self.append_max} bytes")
        if completes or (creates and content_length == 0):
            return
        if content_length < self.append_min:
            raise AppendTooSmall(f"a request that does not complete brings {self.append_min} bytes")
