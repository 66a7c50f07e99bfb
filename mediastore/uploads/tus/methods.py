"""Headers: X-HTTP-Method-Override, for clients whose platform cannot send PATCH or DELETE."""

from collections.abc import Mapping
from functools import wraps

from aiohttp import web

from mediastore.errors import MethodNotAllowed
from mediastore.problems import problem_response
from mediastore.uploads.peek import or_peek
from mediastore.uploads.tus import creation, resource
from mediastore.uploads.tus.protocol import Handler, options, speaks_tus

_OF_UPLOADS: Mapping[str, Handler] = {"OPTIONS": options, "POST": creation.create}
_OF_AN_UPLOAD: Mapping[str, Handler] = {
    "DELETE": resource.delete,
    "HEAD": or_peek(resource.head),
    "OPTIONS": options,
    "PATCH": resource.patch,
}


def overridable(handler: Handler) -> Handler:
    """With the header, the method that it names counts, and the request's own is ignored."""

    @wraps(handler)
    async def chosen(request: web.Request) -> web.Response:
        named = request.headers.get("X-HTTP-Method-Override")
        if named is None:
            return await handler(request)
        return await _methods(request).get(named, _not_allowed)(request)

    return chosen


def _methods(request: web.Request) -> Mapping[str, Handler]:
    return _OF_AN_UPLOAD if "id" in request.match_info else _OF_UPLOADS


@speaks_tus
async def _not_allowed(request: web.Request) -> web.Response:
    response = problem_response(MethodNotAllowed())
    response.headers["Allow"] = ", ".join(_methods(request))
    return response


create = overridable(creation.create)
head = overridable(resource.head)
patch = overridable(resource.patch)
delete = overridable(resource.delete)
post = overridable(_not_allowed)
"""POST to an upload is nothing by itself."""
