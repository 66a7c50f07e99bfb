"""Where a handler finds the process's delivery, `request.app[DELIVERY]`, and what allows a read."""

from aiohttp import web

from mediastore.delivery.content import Delivery
from mediastore.delivery.granting import Granting
from mediastore.delivery.warm import WarmReads

DELIVERY = web.AppKey("delivery", Delivery)
WARM_READS = web.AppKey("warm_reads", WarmReads)
GRANTING = web.AppKey("granting", Granting)
