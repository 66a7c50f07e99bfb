"""Where a handler finds the process's delivery, `request.app[DELIVERY]`, and what allows a read."""

from aiohttp import web

from mediastore.delivery.content import Delivery
from mediastore.delivery.granting import Granting

DELIVERY = web.AppKey("delivery", Delivery)
GRANTING = web.AppKey("granting", Granting)
