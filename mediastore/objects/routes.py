"""`/v1/objects`: list, read, change, delete and restore objects, as JSON.

Every statement names the tenant of the key, so what is somebody else's is what is not there
(INV-10). Making objects is the uploads' business.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from aiohttp import web

from mediastore.access.authenticator import Authenticator
from mediastore.app_keys import AUTHENTICATOR, CATALOG, SETTINGS
from mediastore.catalog.objects import (
    Object,
    change_object,
    get_object,
    get_upload_state,
    list_objects,
    restore_object,
    trash_object,
)
from mediastore.catalog.pictures import ask_pictures
from mediastore.catalog.tenants import Tenant
from mediastore.delivery.keys import DELIVERY
from mediastore.errors import Conflict, Gone, NotFound, UploadFinishing
from mediastore.objects.cursor import make_cursor
from mediastore.objects.document import object_document
from mediastore.objects.fields import parse_object_id, read_change, read_listing
from mediastore.objects.links import make_link
from mediastore.public_urls import public_base

_NOT_CACHED = {"Cache-Control": "no-store"}


def add_routes(app: web.Application) -> None:
    app.router.add_get("/v1/objects", list_, allow_head=False)
    app.router.add_get("/v1/objects/{id}", read)
    app.router.add_patch("/v1/objects/{id}", change)
    app.router.add_delete("/v1/objects/{id}", delete)
    app.router.add_post("/v1/objects/{id}/restore", restore)
    app.router.add_post("/v1/objects/{id}/links", make_link)


async def list_(request: web.Request) -> web.Response:
    """A page of live objects, or of the trash, newest first."""
    app = request.app
    tenant = await _authenticator(request).tenant(request)
    listing = read_listing(
        request.query, tenant=tenant.id, page_size_max=app[SETTINGS].delivery.page_size_max
    )
    found = await list_objects(
        app[CATALOG],
        tenant.id,
        owner=listing.owner,
        trash=listing.trash,
        before=listing.before,
        limit=listing.limit + 1,
    )
    page = found[: listing.limit]
    cursor = None
    if len(found) > listing.limit:
        cursor = make_cursor(
            page[-1].id, tenant=tenant.id, owner=listing.owner, trash=listing.trash
        )
    await _ask_for_pictures(request, tenant, page)
    documents = [_document(request, tenant, item) for item in page]
    return _json({"objects": documents, "next_cursor": cursor})


async def read(request: web.Request) -> web.Response:
    """One object, in the trash or not. While its upload is finishing: 409 `upload_finishing`."""
    tenant = await _authenticator(request).tenant(request)
    id_ = parse_object_id(request.match_info["id"])
    item = await _found(request, tenant.id, id_)
    await _ask_for_pictures(request, tenant, [item])
    return _json(_document(request, tenant, item))


async def change(request: web.Request) -> web.Response:
    """Replace name, owner or metadata of a live object. 409 for one in the trash."""
    tenant = await _authenticator(request).tenant(request)
    id_ = parse_object_id(request.match_info["id"])
    settings = request.app[SETTINGS]
    wanted = await read_change(
        request, settings.http, metadata_max_bytes=settings.uploads.metadata_max_bytes
    )

    async def changed() -> Object | None:
        return await change_object(
            request.app[CATALOG],
            tenant.id,
            id_,
            name=wanted.name,
            owner=wanted.owner,
            metadata=wanted.metadata,
        )

    item = await changed()
    if item is None and (await _found(request, tenant.id, id_)).deleted_at is None:
        item = await changed()
    if item is None:
        raise Conflict("the object is in the trash; restore it first")
    _forget(request, item)
    return _json(_document(request, tenant, item))


async def delete(request: web.Request) -> web.Response:
    """Put an object into the trash; doing it again changes nothing. Answers with the object."""
    tenant = await _authenticator(request).tenant(request)
    id_ = parse_object_id(request.match_info["id"])
    catalog = request.app[CATALOG]
    item = await trash_object(catalog, tenant.id, id_)
    if item is None:
        item = await _found(request, tenant.id, id_)
        if item.deleted_at is None:
            again = await trash_object(catalog, tenant.id, id_)
            item = again or await _found(request, tenant.id, id_)
    _forget(request, item)
    return _json(_document(request, tenant, item))


async def restore(request: web.Request) -> web.Response:
    """Take an object out of the trash. 409 if it is not in it, 410 when its time there is over."""
    tenant = await _authenticator(request).tenant(request)
    id_ = parse_object_id(request.match_info["id"])
    catalog = request.app[CATALOG]
    item = await restore_object(catalog, tenant.id, id_)
    if item is None:
        if (await _found(request, tenant.id, id_)).deleted_at is None:
            raise Conflict("the object is not in the trash")
        item = await restore_object(catalog, tenant.id, id_)
    if item is None:
        raise Gone("the object's time in the trash is over; it is being removed")
    return _json(_document(request, tenant, item))


async def _found(request: web.Request, tenant: str, id_: UUID) -> Object:
    """An object, in the trash or not. Who asks because a change found none to apply to tries that
    once more if it would apply to this one: objects are made, deleted and restored between two
    looks.

    Raises NotFound; UploadFinishing while its upload is finishing.
    """
    catalog = request.app[CATALOG]
    item = await get_object(catalog, tenant, id_)
    if item is None:
        if await get_upload_state(catalog, tenant, id_) == "finishing":
            raise UploadFinishing
        item = await get_object(catalog, tenant, id_)  # it may have become one between the two
    if item is None:
        raise NotFound
    return item


def _authenticator(request: web.Request) -> Authenticator:
    return request.app[AUTHENTICATOR]


def _forget(request: web.Request, item: Object) -> None:
    """This process need not wait for the notification."""
    request.app[DELIVERY].allowed.forget(item.tenant, str(item.id), item.blob.hex())


async def _ask_for_pictures(request: web.Request, tenant: Tenant, items: Sequence[Object]) -> None:
    """What was uploaded before pictures were looked at, is from when it is first read on."""
    unasked = {item.blob for item in items if item.picture.is_unasked}
    if unasked:
        await ask_pictures(request.app[CATALOG], tenant.id, sorted(unasked))


def _document(request: web.Request, tenant: Tenant, item: Object) -> dict[str, Any]:
    return object_document(
        item,
        public_url=public_base(request),
        keep_captured=tenant.policy.keep_capture_time is True,
    )


def _json(document: dict[str, Any]) -> web.Response:
    return web.Response(
        body=json.dumps(document).encode(), content_type="application/json", headers=_NOT_CACHED
    )
