"""What only this protocol refuses: part of the table in mediastore/errors.py.

Three have problem types that the draft registers, or did.
"""

from typing import Self

from mediastore.errors import BadRequest, ChecksumMismatch, OffsetMismatch, Unavailable

TYPE_BASE = "https://iana.org/assignments/http-problem-types#"


class UnsupportedInteropVersion(BadRequest):
    """This server does not speak that version of the resumable upload draft."""

    code = "unsupported_interop_version"


class ContentDigestMismatch(ChecksumMismatch):
    """The request's content does not have its Content-Digest; nothing of it was kept."""

    code = "content_digest_mismatch"
    status = 400


class AppendTooSmall(BadRequest):
    """The request brings less than Upload-Limit's min-append-size and does not complete."""

    code = "append_too_small"


class InconsistentUploadLength(BadRequest):
    """The lengths that the requests of this upload name contradict each other."""

    code = "inconsistent_upload_length"
    type_uri = TYPE_BASE + "inconsistent-upload-length"


class CompletedUpload(BadRequest):
    """The upload is completed already; ask for its offset to see it."""

    code = "completed_upload"
    type_uri = TYPE_BASE + "completed-upload"


class MismatchingUploadOffset(OffsetMismatch):
    """The Upload-Offset of the request is not the offset of the upload."""

    code = "mismatching_upload_offset"
    type_uri = TYPE_BASE + "mismatching-upload-offset"

    @classmethod
    def between(cls, *, expected: int, provided: int) -> Self:
        members = {"expected-offset": expected, "provided-offset": provided}
        return cls(None, offset=expected, **members)


class StillFinishing(Unavailable):
    """The upload is complete and its object is still being made; send the request again."""

    code = "still_finishing"
