"""The content of one request, taken into an upload; and what its end must be.

A length that was declared binds the upload: content that goes past it ends the upload for good
(section Upload Append), content that says it is the last and stops short of it completes nothing.
"""

from aiohttp import web

from mediastore.app_keys import SETTINGS
from mediastore.catalog.uploads import Upload
from mediastore.errors import ChecksumMismatch, RequestTimeout, ShuttingDown, TooLarge
from mediastore.ietf_errors import ContentDigestMismatch, InconsistentUploadLength
from mediastore.uploads.digest_fields import content_digest
from mediastore.uploads.ietf.fields import Asked
from mediastore.uploads.ietf.limits import Limits
from mediastore.uploads.ietf.notices import Notices
from mediastore.uploads.interim import want_body
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.service import Uploads
from mediastore.uploads.standing import Standing


async def take_in(request: web.Request, asked: Asked, upload: Upload, notices: Notices) -> Standing:
    """Append the request's content to an upload whose URL the client knows.

    Raises BadChecksum, ContentDigestMismatch, InconsistentUploadLength, and what appends raise.
    Content that this service cuts short gets no answer: the client resumes, as it does after every
    connection that broke.
    """
    uploads = request.app[UPLOADS]
    digests = content_digest(request)
    want_body(request)
    try:
        standing = await uploads.append(
            upload,
            request.content,
            ends_with_body=asked.completes,
            body_digests=digests,
            body_max_bytes=Limits.of(request.app[SETTINGS].uploads).append_max,
            acknowledged=notices.progress,
        )
    except ChecksumMismatch as error:
        raise ContentDigestMismatch(**error.members) from None
    except (RequestTimeout, ShuttingDown):
        _hang_up(request)
        raise
    except TooLarge as error:
        if "length" in error.members:
            await refuse_past_length(uploads, upload)
        raise
    if (short := stops_short(asked, standing)) is not None:
        raise short
    return standing


def _hang_up(request: web.Request) -> None:
    """Close the connection before the answer is written; logs and metrics have it all the same.

    The draft has clients resume after a connection that broke and after a 5xx, not after a 4xx; but
    URLSession takes a 5xx for final too (immich-app/immich#22385).
    """
    if request.transport is not None:
        request.transport.close()


def stops_short(asked: Asked, standing: Standing) -> InconsistentUploadLength | None:
    """What is wrong with content that should have completed the upload and has not."""
    upload = standing.upload
    if not asked.completes or standing.object is not None or upload is None:
        return None
    if upload.state != "open":
        return None
    return InconsistentUploadLength(
        f"the content ends at {upload.offset}, the upload's length is {upload.length}",
        offset=upload.offset,
    )


async def refuse_past_length(uploads: Uploads, upload: Upload) -> None:
    """Content goes past the declared length: end the upload. Raises InconsistentUploadLength."""
    await uploads.terminate(upload.tenant, upload.id)
    raise InconsistentUploadLength(
        f"the content goes past the upload's length of {upload.length}; the upload is gone"
    )
