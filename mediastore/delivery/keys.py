"""Where a handler finds the process's delivery: `request.app[DELIVERY]`."""

from aiohttp import web

from mediastore.delivery.content import Delivery

DELIVERY = web.AppKey("delivery", Delivery)
