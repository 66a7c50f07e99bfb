"""How much a body may bring, and what the end of the upload is: its length, this body's end, or
neither.
"""

from dataclasses import dataclass
from typing import Self

from mediastore.catalog.uploads import ENDED_BY_A_FLAG, Upload, UploadDraft
from mediastore.errors import TooLarge
from mediastore.uploads.body import BodyEnd


@dataclass(frozen=True, slots=True)
class Bounds:
    """Offsets in the upload, not in the body."""

    length: int | None
    received_max: int
    ends_at_length: bool
    ends_with_body: bool

    @classmethod
    def of(
        cls,
        subject: UploadDraft | Upload,
        size_max_bytes: int,
        body_max_bytes: int | None,
        *,
        ends_with_body: bool,
    ) -> Self:
        offset = subject.offset if isinstance(subject, Upload) else 0
        most = size_max_bytes if body_max_bytes is None else offset + body_max_bytes
        return cls(
            length=subject.length,
            received_max=min(most, size_max_bytes),
            ends_at_length=subject.protocol not in ENDED_BY_A_FLAG,
            ends_with_body=ends_with_body,
        )

    def check(self, received: int) -> None:
        """Raises TooLarge; its member `length` says that this is what the body went past."""
        if self.length is not None and received > self.length:
            raise TooLarge("the body goes past the upload's length", length=self.length)
        if received > self.received_max:
            raise TooLarge("the body goes past the largest size that is taken")

    def is_whole(self, received: int, end: BodyEnd) -> bool:
        """Is what was received all of the upload? A body that broke off is not its end."""
        if received == self.length and self.ends_at_length:
            return True
        return self.ends_with_body and end is BodyEnd.WHOLE and self.length in (None, received)
