"""One request, one object: POST /v1/objects with the content as its raw body.

The body's end is the upload's end; a body that does not come whole leaves nothing. With an
Idempotency-Key the request can be sent again: the answer is the object that the first one made
(kept a day).
"""

from collections.abc import Awaitable, Callable

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

    async def made() -> Object:
        said = says.draft(
            tenant.id,
            "raw",
            length=length,
            idempotency_key=key,
            digests=[repr_digest(request), content_digest(request)],  # one request: the same bytes
        )
        draft = await uploads.admit(said, client=client_address(request))
        want_body(request)
        standing = await uploads.receive_new(draft, request.content, ends_with_body=True)
        if standing.object is None:
            raise UploadFinishing(id=str(draft.id))
        return standing.object

    return await answer_once(request, tenant.id, key, made)


async def answer_once(
    request: web.Request, tenant: str, key: str | None, make: Callable[[], Awaitable[Object]]
) -> web.Response:
    """The object that `make` makes, or that an earlier request with this Idempotency-Key made."""
    uploads = request.app[UPLOADS]
    if (earlier := await uploads.repeated(tenant, key)) is not None:
        return _answer(request, earlier, status=200)
    try:
        made = await make()
    except IdempotencyKeyInUse:
        earlier = await uploads.repeated(tenant, key)
        if earlier is None:
            raise
        return _answer(request, earlier, status=200)
    return _answer(request, made, status=201)


def _answer(request: web.Request, made: Object, *, status: int) -> web.Response:
    document = object_document(made, public_url=public_base(request))
    return web.json_response(
        document, status=status, headers={"Location": document["links"]["self"]}
    )
