"""Opens what pictures need when the application starts, and closes it."""

from collections.abc import AsyncIterator

from aiohttp import web

from mediastore.app_keys import AUTHENTICATOR, CATALOG, CLOCK, METRICS, SETTINGS
from mediastore.delivery.keys import DELIVERY, GRANTING
from mediastore.errors import BadSettings
from mediastore.image_errors import BadTransform
from mediastore.images.grammar import parse_presets
from mediastore.images.image_metrics import ImageMetrics
from mediastore.images.making import Variants
from mediastore.images.pool import WorkerPool
from mediastore.images.probe_metrics import ProbeMetrics
from mediastore.images.probes import Probes
from mediastore.images.serving import Serving
from mediastore.lasting import lasting
from mediastore.tenant_cors import TENANT_CORS
from mediastore.uploads.keys import UPLOADS

PATH = "/media/{tenant}/{blob}/{transform}/{filename}"
SERVING = web.AppKey("image_serving", Serving)
WORKERS = web.AppKey("image_workers", WorkerPool)


def add_routes(app: web.Application) -> None:
    """Serve pictures; to be called after those of delivery and uploads."""
    try:
        presets = parse_presets(app[SETTINGS].images.presets)
    except BadTransform as error:
        raise BadSettings(f"images.presets: {error.detail}") from None

    async def opened(app: web.Application) -> AsyncIterator[None]:
        settings, clock = app[SETTINGS].images, app[CLOCK]
        registry = app[METRICS].registry
        metrics = ImageMetrics(registry)
        app[WORKERS] = pool = WorkerPool(settings, clock, metrics)
        variants = Variants(app[UPLOADS].parts, app[DELIVERY].parts, pool, settings, clock, metrics)
        app[SERVING] = Serving(
            variants,
            app[DELIVERY],
            app[GRANTING],
            app[AUTHENTICATOR].policies,
            settings,
            presets,
            metrics,
        )
        probes = Probes(
            app[CATALOG], app[DELIVERY].parts, pool, settings, clock, ProbeMetrics(registry)
        )
        async with lasting(clock, probes.measure, *[probes.run] * settings.probes_at_once):
            yield
        await variants.close()
        await pool.close()

    app.cleanup_ctx.append(opened)
    app.router.add_get(PATH, _variant)
    app.router.add_options(PATH, app[TENANT_CORS].options)


async def _variant(request: web.Request) -> web.StreamResponse:
    return await request.app[SERVING].answer(request)
