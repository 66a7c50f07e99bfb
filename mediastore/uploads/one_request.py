"""POST /v1/objects: the request's media type says what its body is.

A form has files, a pull names a URL to fetch; whatever else is content.
"""

from aiohttp import web

from mediastore.uploads import form, pull, raw


async def create(request: web.Request) -> web.Response:
    """An object, or several."""
    if request.content_type == form.FORM_TYPE:
        return await form.create(request)
    if request.content_type == pull.PULL_TYPE:
        return await pull.create(request)
    return await raw.create(request)
