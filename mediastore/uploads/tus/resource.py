"""One upload: Requests: HEAD, PATCH; Extensions: Checksum, Creation Defer Length, Termination."""

from collections.abc import Mapping

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, SETTINGS
from mediastore.catalog.uploads import Upload
from mediastore.content.digests import Digester
from mediastore.errors import BadLength, ChecksumMismatch, OffsetMismatch, TooLarge
from mediastore.uploads.digest_fields import check_declared, upload_checksum
from mediastore.uploads.interim import want_body
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.standing import Standing
from mediastore.uploads.tus.answers import offset_headers, standing_headers
from mediastore.uploads.tus.concatenation import concat_headers, refuse_final, without_offset
from mediastore.uploads.tus.fields import check_size, check_type, later_length, number, upload_id
from mediastore.uploads.tus.protocol import speaks_tus


@speaks_tus
async def head(request: web.Request) -> web.Response:
    """Requests: HEAD. Also the answer to 'did my last request arrive?': from the object, once
    finished.
    """
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    standing = await request.app[UPLOADS].take(tenant.id, upload_id(request))
    headers = standing_headers(standing) | await concat_headers(request, tenant.id, standing)
    return web.Response(status=200, headers=without_offset(standing, headers))


@speaks_tus
async def patch(request: web.Request) -> web.Response:
    """Requests: PATCH. A request at a wrong offset is refused without taking anything."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    check_type(request)
    offset = number(request, "Upload-Offset")
    length = later_length(request, size_max_bytes=request.app[SETTINGS].uploads.size_max_bytes)
    checksum = upload_checksum(request)
    try:
        standing = await request.app[UPLOADS].take(
            tenant.id,
            upload_id(request),
            expected_offset=offset,
            writes=request.can_read_body,
        )
    except OffsetMismatch:
        await refuse_final(request, tenant.id)
        raise
    if standing.upload is None or standing.upload.concat == "final":
        await refuse_final(request, tenant.id)
    if standing.upload is None or standing.object is not None or standing.upload.state != "open":
        _check_repeated_end(request, offset, length, checksum, standing)
    else:
        standing = await _append(request, standing.upload, length, checksum)
    return web.Response(status=204, headers=offset_headers(standing))


@speaks_tus
async def delete(request: web.Request) -> web.Response:
    """Extensions: Termination."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    await request.app[UPLOADS].terminate(tenant.id, upload_id(request))
    return web.Response(status=204)


async def _append(
    request: web.Request, upload: Upload, length: int | None, checksum: Mapping[str, bytes]
) -> Standing:
    uploads = request.app[UPLOADS]
    check_declared(request, upload)
    if length is not None and (length < upload.offset or upload.length not in (None, length)):
        raise BadLength("Upload-Length contradicts what was declared or sent before")
    check_size(request, offset=upload.offset, length=upload.length if length is None else length)
    if length is not None and upload.length is None:
        upload = await uploads.declare_length(upload, length)
    if request.can_read_body or checksum or upload.whole:
        want_body(request)
        return await uploads.append(upload, request.content, body_digests=checksum)
    return Standing(upload, None)


def _check_repeated_end(
    request: web.Request,
    offset: int,
    length: int | None,
    checksum: Mapping[str, bytes],
    standing: Standing,
) -> None:
    """A finished upload takes its last request again if that brings nothing new."""
    if offset != standing.offset:
        raise OffsetMismatch(offset=standing.offset)
    if length not in (None, standing.length):
        raise BadLength("Upload-Length is not the length of this upload")
    if request.can_read_body and request.content_length != 0:
        raise TooLarge("the upload is whole; there is nothing more to send")
    if Digester(checksum).digests() != checksum:
        raise ChecksumMismatch(offset=offset)
