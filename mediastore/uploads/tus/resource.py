"""One upload: Requests: HEAD, PATCH; Extensions: Termination."""

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR
from mediastore.errors import OffsetMismatch, TooLarge, UnsupportedMediaType
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.service import Standing
from mediastore.uploads.tus.answers import offset_headers
from mediastore.uploads.tus.concatenation import concat_headers, final_headers, refuse_final
from mediastore.uploads.tus.fields import check_body, number, upload_id
from mediastore.uploads.tus.protocol import OFFSET_TYPE, speaks_tus


@speaks_tus
async def head(request: web.Request) -> web.Response:
    """Requests: HEAD. Also the answer to 'did my last request arrive?': from the object, once
    finished.
    """
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    standing = await request.app[UPLOADS].take(tenant.id, upload_id(request))
    headers = final_headers(standing)
    if standing.length is not None:
        headers["Upload-Length"] = str(standing.length)
    headers |= await concat_headers(request, tenant.id, standing)
    return web.Response(status=200, headers=headers)


@speaks_tus
async def patch(request: web.Request) -> web.Response:
    """Requests: PATCH. A request at a wrong offset is refused without taking anything."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    if request.headers.get("Content-Type") != OFFSET_TYPE:
        raise UnsupportedMediaType(f"PATCH needs Content-Type: {OFFSET_TYPE}")
    offset = number(request, "Upload-Offset")
    uploads = request.app[UPLOADS]
    try:
        standing = await uploads.take(tenant.id, upload_id(request), expected_offset=offset)
    except OffsetMismatch:
        await refuse_final(request, tenant.id)
        raise
    if standing.upload is None or standing.upload.concat == "final":
        await refuse_final(request, tenant.id)
    if standing.upload is None or standing.object is not None or standing.upload.state != "open":
        _check_repeated_end(request, offset, standing)
    elif request.can_read_body:
        check_body(request, offset=offset, length=standing.length)
        standing = await uploads.append(standing.upload, request.content)
    return web.Response(status=204, headers=offset_headers(standing))


@speaks_tus
async def delete(request: web.Request) -> web.Response:
    """Extensions: Termination."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    await request.app[UPLOADS].terminate(tenant.id, upload_id(request))
    return web.Response(status=204)


def _check_repeated_end(request: web.Request, offset: int, standing: Standing) -> None:
    """A finished upload takes its last request again if that brings nothing new."""
    if offset != standing.offset:
        raise OffsetMismatch(offset=standing.offset)
    if request.can_read_body and request.content_length != 0:
        raise TooLarge("the upload is whole; there is nothing more to send")
