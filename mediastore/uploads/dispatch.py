"""One URL, two protocols: which of them a request speaks.

Every tus request but OPTIONS has `Tus-Resumable`. iOS adds the IETF draft's headers to uploads of
any kind, so tus is looked for first. A client of the RFC to come asks for an offset or cancels
without any header of its own.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from mediastore.uploads import form, pull, raw, tus
from mediastore.uploads.ietf import creation, resource
from mediastore.uploads.ietf.answers import told_limits
from mediastore.uploads.ietf.dialects import APPEND_TYPE
from mediastore.uploads.ietf.fields import speaks_draft

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _choose(
    tus_handler: Handler, ietf_handler: Handler, *, is_ietf: Callable[[web.Request], bool]
) -> Handler:
    async def chosen(request: web.Request) -> web.StreamResponse:
        if "Tus-Resumable" in request.headers or not is_ietf(request):
            return await tus_handler(request)
        return await ietf_handler(request)

    return chosen


def _says_so(request: web.Request) -> bool:
    return speaks_draft(request.headers)


def _says_nothing_else(_request: web.Request) -> bool:
    return True


create = _choose(tus.create, creation.create, is_ietf=_says_so)
append = _choose(tus.patch, resource.append, is_ietf=_says_so)
retrieve = _choose(tus.head, resource.retrieve, is_ietf=_says_nothing_else)
cancel = _choose(tus.delete, resource.cancel, is_ietf=_says_nothing_else)


async def create_object(request: web.Request) -> web.StreamResponse:
    """POST /v1/objects: the media type says what the body is; if it is content, the IETF draft can
    make the request resumable.
    """
    if request.content_type == form.FORM_TYPE:
        return await form.create(request)
    if request.content_type == pull.PULL_TYPE:
        return await pull.create(request)
    if creation.upgrades(request.headers):
        return await creation.create(request)
    return await raw.create(request)


async def options(request: web.Request) -> web.StreamResponse:
    """What both protocols say of an upload resource; no key needed."""
    answer = await tus.options(request)
    answer.headers["Accept-Patch"] = f"{APPEND_TYPE}, {tus.OFFSET_TYPE}"
    answer.headers.update(await told_limits(request))
    return answer


async def object_options(request: web.Request) -> web.StreamResponse:
    """Objects are made by uploads that can be resumed (section Limits)."""
    return web.Response(status=204, headers={**await told_limits(request), "Allow": "GET, POST"})
