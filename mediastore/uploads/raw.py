"""One request, one object: POST /v1/objects with the content as its raw body.

The body's end is the upload's end; a body that does not come whole leaves nothing. With an
Idempotency-Key the request can be sent again: the answer is the object that the first one made
(kept a day).
"""

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, SETTINGS
from mediastore.catalog.objects import Object
from mediastore.errors import IdempotencyKeyInUse, TooLarge, UploadFinishing
from mediastore.objects.document import object_document
from mediastore.public_urls import client_address, public_base
from mediastore.uploads.digest_fields import content_digest, repr_digest
from mediastore.uploads.interim import want_body
from mediastore.uploads.keys import UPLOADS
from mediastore.uploads.metadata import checked_idempotency_key, from_query


async def create(request: web.Request) -> web.Response:
    """201 with the object as JSON; 200 for a repeated Idempotency-Key."""
    tenant = await request.app[AUTHENTICATOR].tenant(request)
    settings = request.app[SETTINGS]
    uploads = request.app[UPLOADS]
    length = request.content_length
    if length is not None and length > settings.uploads.size_max_bytes:
        raise TooLarge(f"an object may have at most {settings.uploads.size_max_bytes} bytes")
    says = from_query(
        request.query,
        request.headers.get("Content-Type"),
        metadata_max_bytes=settings.uploads.metadata_max_bytes,
    )
    key = checked_idempotency_key(request.headers.get("Idempotency-Key"))
    if (earlier := await uploads.repeated(tenant.id, key)) is not None:
        return _answer(request, earlier, status=200)
    said = says.draft(
        tenant.id,
        "raw",
        length=length,
        idempotency_key=key,
        digests=[repr_digest(request), content_digest(request)],  # one request: the same bytes
    )
    draft = await uploads.admit(said, client=client_address(request))
    want_body(request)
    try:
        standing = await uploads.receive_new(draft, request.content, ends_with_body=True)
    except IdempotencyKeyInUse:
        earlier = await uploads.repeated(tenant.id, key)
        if earlier is None:
            raise
        return _answer(request, earlier, status=200)
    if standing.object is None:
        raise UploadFinishing
    return _answer(request, standing.object, status=201)


def _answer(request: web.Request, made: Object, *, status: int) -> web.Response:
    document = object_document(made, public_url=public_base(request))
    return web.json_response(
        document, status=status, headers={"Location": document["links"]["self"]}
    )
