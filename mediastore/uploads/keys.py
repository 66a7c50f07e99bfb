"""Where a handler finds the process's uploads: `request.app[UPLOADS]`."""

from aiohttp import web

from mediastore.uploads.service import Uploads

UPLOADS = web.AppKey("uploads", Uploads)
