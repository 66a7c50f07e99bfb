"""Extensions: Creation, Creation With Upload, Creation Defer Length."""

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, SETTINGS
from mediastore.public_urls import client_address, public_base
from mediastore.uploads.digest_fields import repr_digest, upload_checksum
from mediastore.uploads.interim import want_body
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.metadata import from_tus
from mediastore.uploads.tus.answers import offset_headers
from mediastore.uploads.tus.fields import check_size, check_type, created_length
from mediastore.uploads.tus.protocol import speaks_tus


@speaks_tus
async def create(request: web.Request) -> web.Response:
    """201 with the new upload's Location; the body, if there is one, is its beginning."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    settings = request.app[SETTINGS]
    length = created_length(request, size_max_bytes=settings.uploads.size_max_bytes)
    metadata = request.headers.get("Upload-Metadata")
    says = from_tus(metadata, metadata_max_bytes=settings.uploads.metadata_max_bytes)
    checksum = upload_checksum(request)
    if request.can_read_body:
        check_type(request)
    check_size(request, offset=0, length=length)
    uploads = request.app[UPLOADS]
    said = says.draft(
        tenant.id, "tus", length=length, digests=[repr_digest(request)], tus_metadata=metadata
    )
    draft = await uploads.admit(said, client=client_address(request))
    if request.can_read_body or checksum:
        want_body(request)
        standing = await uploads.receive_new(
            draft, request.content, ends_with_body=False, body_digests=checksum
        )
    else:
        standing = await uploads.begin(draft)
    headers = {
        "Location": f"{public_base(request)}/v1/uploads/{draft.id}",
        **offset_headers(standing),
    }
    return web.Response(status=201, headers=headers)
