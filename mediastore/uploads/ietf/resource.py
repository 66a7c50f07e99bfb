"""The upload resource: ask for its offset, append to it, cancel it.

Each of them takes the upload over by a new epoch (INV-8): the newest request of a client is the one
that counts, nobody waits for a lock, and an offset that was told is one that the next append may
use (section Concurrency). Only an append that says so completes an upload.
"""

from collections.abc import Sequence
from uuid import UUID

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR
from mediastore.catalog.uploads import Upload
from mediastore.errors import BadRequest, OffsetMismatch, UnsupportedMediaType
from mediastore.ietf_errors import (
    InconsistentUploadLength,
    MismatchingUploadOffset,
)
from mediastore.objects.fields import parse_object_id
from mediastore.uploads.digest_fields import check_declared, content_digest, wanted_digests
from mediastore.uploads.ietf.answers import final_response, in_dialect, limits_for, standing_headers
from mediastore.uploads.ietf.content import refuse_past_length, take_in
from mediastore.uploads.ietf.dialects import Dialect
from mediastore.uploads.ietf.fields import Asked, has_creation_fields
from mediastore.uploads.ietf.limits import Limits
from mediastore.uploads.ietf.notices import Notices
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.standing import Standing


@in_dialect
async def retrieve(request: web.Request, asked: Asked) -> web.Response:
    """Section Offset Retrieval: HEAD, and GET without a body."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    _check_bare(request, asked.dialect)
    _ = await limits_for(request, tenant.id)
    standing = await request.app[UPLOADS].take(tenant.id, _id(request))
    return web.Response(status=204, headers=standing_headers(request, asked.dialect, standing))


@in_dialect
async def append(request: web.Request, asked: Asked) -> web.Response:
    """Section Upload Append. The object when the upload is complete, else where it stands."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    dialect, offset, completes = asked.dialect, asked.at, asked.completes
    if dialect.append_type not in (None, request.headers.get("Content-Type")):
        raise UnsupportedMediaType(f"an append needs Content-Type: {dialect.append_type}")
    wanted = wanted_digests(request)
    _ = content_digest(request)  # refused before anything changes, if it is not valid
    limits = await limits_for(request, tenant.id)
    limits.check_content(asked.content_length, completes=completes, creates=False)
    try:
        standing = await request.app[UPLOADS].take(
            tenant.id, _id(request), expected_offset=offset, writes=request.can_read_body
        )
    except OffsetMismatch as error:
        raise MismatchingUploadOffset.between(
            expected=error.members["offset"], provided=offset
        ) from None
    upload = standing.upload
    if upload is None or standing.object is not None or upload.state != "open":
        return await _repeated(request, asked, standing, wanted)
    check_declared(request, upload)
    upload = await _with_its_length(request, asked, upload, limits)
    standing = await take_in(request, asked, upload, Notices(request, asked))
    if completes:
        return await final_response(request, dialect, standing, wanted)
    headers = standing_headers(request, dialect, standing)
    return web.Response(status=dialect.appended_status, headers=headers)


@in_dialect
async def cancel(request: web.Request, asked: Asked) -> web.Response:
    """Section Upload Cancellation."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    _check_bare(request, asked.dialect)
    await request.app[UPLOADS].terminate(tenant.id, _id(request))
    return web.Response(status=204)


def _id(request: web.Request) -> UUID:
    return parse_object_id(request.match_info["id"])


def _check_bare(request: web.Request, dialect: Dialect) -> None:
    if dialect.refuses_extra_fields and has_creation_fields(request.headers):
        raise BadRequest(f"{request.method} takes no header of a creation or an append")


async def _with_its_length(
    request: web.Request, asked: Asked, upload: Upload, limits: Limits
) -> Upload:
    """The upload with the length that this request declares, if it had none.

    Raises InconsistentUploadLength, TooLarge.
    """
    told, known = asked.told_length(upload.offset), upload.length
    ends = None if asked.content_length is None else upload.offset + asked.content_length
    limits.check_length(told)
    if ends is not None and known is not None and ends > known:
        await refuse_past_length(request.app[UPLOADS], upload)
    if told is None or told == known:
        return upload
    if known is not None:
        raise InconsistentUploadLength(
            f"the upload's length is {known}, not {told}", offset=upload.offset
        )
    if told < upload.offset or (ends is not None and told < ends):
        raise InconsistentUploadLength(
            f"a length of {told} is less than what the upload has", offset=upload.offset
        )
    return await request.app[UPLOADS].declare_length(upload, told)


async def _repeated(
    request: web.Request, asked: Asked, standing: Standing, wanted: Sequence[str]
) -> web.Response:
    """A completed upload: the client may have lost the answer that said so; it sends no more.

    -04 to -08 wanted this refused (400); but a request that broke off may have completed the upload
    after the client was told that it is not complete, and its client would take a 400 as final.

    Raises MismatchingUploadOffset, InconsistentUploadLength, StillFinishing.
    """
    if asked.at != standing.offset:
        raise MismatchingUploadOffset.between(expected=standing.offset, provided=asked.at)
    if asked.content_length != 0:
        raise InconsistentUploadLength("the upload is complete; there is nothing more to append")
    return await final_response(request, asked.dialect, standing, wanted)
