"""POST /v1/objects: the request's media type says what its body is.

`multipart/form-data` is a form with files; whatever else is content.
"""

from aiohttp import web

from mediastore.uploads import form, raw


async def create(request: web.Request) -> web.Response:
    """An object, or several."""
    if request.content_type == form.FORM_TYPE:
        return await form.create(request)
    return await raw.create(request)
