"""A tenant's policy for its uploads, with the service's settings where it has none of its own."""

from dataclasses import dataclass

from mediastore.catalog.policy import TenantPolicy, TypeMismatch
from mediastore.errors import TooLarge
from mediastore.policy_errors import TypeNotAllowed
from mediastore.settings import UploadSettings


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """What holds for one tenant's uploads now. `content_types` of None: all are taken."""

    expires_seconds: int
    expiry_fixed: bool
    size_max_bytes: int
    content_types: tuple[str, ...] | None
    type_mismatch: TypeMismatch

    @property
    def looks_at_content(self) -> bool:
        return self.type_mismatch != "trust"

    def check_length(self, length: int | None) -> None:
        """Raises TooLarge."""
        if length is not None and length > self.size_max_bytes:
            raise TooLarge(f"an object may have at most {self.size_max_bytes} bytes")

    def check_type(self, content_type: str) -> None:
        """Raises TypeNotAllowed unless one of the tenant's patterns fits."""
        if self.content_types is None:
            return
        bare = bare_type(content_type)
        group = bare.partition("/")[0] + "/*"
        if bare not in self.content_types and group not in self.content_types:
            raise TypeNotAllowed(f"{bare} is not one of {', '.join(self.content_types)}")


def bare_type(content_type: str) -> str:
    """Without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def effective_policy(own: TenantPolicy, settings: UploadSettings) -> UploadPolicy:
    """The tenant's own members first; its size limit can only be lower than the service's."""
    expiry = own.upload_expiry or settings.expiry
    size_max_bytes = own.size_max_bytes or settings.size_max_bytes
    return UploadPolicy(
        expires_seconds=own.upload_expires_seconds or settings.expires_seconds,
        expiry_fixed=expiry == "fixed",
        size_max_bytes=min(size_max_bytes, settings.size_max_bytes),
        content_types=own.content_types,
        type_mismatch=own.type_mismatch or settings.type_mismatch,
    )
