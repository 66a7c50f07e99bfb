"""Runs the service: listens, serves, and stops without dropping what clients have sent.

The order of a stop: /readyz turns 503; after `http.shutdown_delay_seconds` the sockets close to new
connections and idle ones are closed; running requests have half of `http.shutdown_grace_seconds`
to end by themselves; then bodies still being read are cut, and their handlers have the other half
to commit what they hold; then the app's resources are closed. A second signal cuts this short: what
was acknowledged is durable already (INV-1), the rest was never promised.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import uvloop
from aiohttp import web, web_response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from mediastore.allocator import bound_arenas
from mediastore.clock import Clock
from mediastore.errors import BadSettings
from mediastore.front import AppRunner
from mediastore.settings import KIB, HttpSettings, Settings
from mediastore.telemetry.health import READINESS
from mediastore.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

# What a connection may hold outside the memory budget is a few times this; more buys no speed.
READ_BUFFER_BYTES = 32 * KIB
HEADER_LINE_MAX_BYTES = 16 * KIB
HEADER_FIELD_MAX_BYTES = 32 * KIB  # tus carries metadata, base64, in one field
KEEPALIVE_SECONDS = 75.0  # longer than the idle time of the usual proxies in front
LINGERING_SECONDS = 5.0
BACKLOG_CONNECTIONS = 1024
INTERRUPTED_EXIT_CODE = 130
# Which versions to attack is nobody's business. aiohttp reads this name for every answer that has
# no Server of its own, those to requests that it cannot parse included: no signal sees these.
vars(web_response)["SERVER_SOFTWARE"] = "mediastore"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a running service listens: base URLs, without a slash at the end."""

    url: str
    metrics_url: str | None


async def serve(
    settings: Settings,
    clock: Clock,
    *,
    on_listening: Callable[[Listening], None] | None = None,
    metrics: Metrics | None = None,
    shared_port: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order. Raises MediastoreError at start only.

    `shared_port`: other processes listen on it too, and the kernel shares connections out.
    """
    from mediastore.app import build_app

    metrics = Metrics.create() if metrics is None else metrics
    registry = metrics.registry
    app = build_app(settings, clock=clock, metrics=metrics)

    async def render() -> bytes:
        return generate_latest(registry)

    async with (
        stop_on_signals() as stop,
        listen_for_metrics(settings.http, render) as metrics_url,
        _running(app, settings.http, shared_port=shared_port) as url,
    ):
        log.info(
            "worker_listening" if shared_port else "listening", url=url, metrics_url=metrics_url
        )
        if on_listening is not None:
            on_listening(Listening(url, metrics_url))
        await stop.wait()
        log.info("stopping")
        app[READINESS].stop()
        await clock.sleep(settings.http.shutdown_delay_seconds)
    log.info("stopped")


def run(work: Coroutine[Any, Any, None]) -> int:
    """Run `work` on uvloop. Returns the exit code: 130 when a second signal cut the stop short."""
    bound_arenas()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(work)
        except (asyncio.CancelledError, KeyboardInterrupt):
            return INTERRUPTED_EXIT_CODE
    return 0


@asynccontextmanager
async def _running(
    app: web.Application, http: HttpSettings, *, shared_port: bool
) -> AsyncIterator[str]:
    """The app on its socket; leaving stops it in the order that this module's docstring gives."""
    runner = AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # Content-Encoding describes the object; its bytes are kept as sent
        read_bufsize=READ_BUFFER_BYTES,
        keepalive_timeout=KEEPALIVE_SECONDS,
        lingering_time=LINGERING_SECONDS,
        max_line_size=HEADER_LINE_MAX_BYTES,
        max_field_size=HEADER_FIELD_MAX_BYTES,
        # aiohttp waits this long for handlers, cuts their bodies, and waits as long again.
        shutdown_timeout=http.shutdown_grace_seconds / 2,
    )
    async with _cleaned_up(runner):
        yield await _listen(runner, http.host, http.port, shared_port=shared_port)


@asynccontextmanager
async def listen_for_metrics(
    http: HttpSettings, render: Callable[[], Awaitable[bytes]]
) -> AsyncIterator[str | None]:
    """/metrics on a port of its own, so that it is never reachable where clients are."""
    if http.metrics_port < 0:
        yield None
        return

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=await render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", scrape)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    async with _cleaned_up(runner):
        yield await _listen(runner, http.metrics_host, http.metrics_port) + "/metrics"


@asynccontextmanager
async def _cleaned_up(runner: web.AppRunner) -> AsyncIterator[None]:
    try:
        await runner.setup()
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int, *, shared_port: bool = False) -> str:
    try:
        site = web.TCPSite(
            runner, host, port, backlog=BACKLOG_CONNECTIONS, reuse_port=shared_port or None
        )
        await site.start()
    except OSError as error:
        raise BadSettings(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return base_url(host, runner.addresses[0][1])


def base_url(host: str, port: int) -> str:
    """Where something listens, without a slash at the end."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def stop_on_signals() -> AsyncIterator[asyncio.Event]:
    """An event that the first signal to stop sets; the second one cancels the running task."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stop = asyncio.Event()

    def received() -> None:
        if stop.is_set() and task is not None:
            log.warning("stopping_now", detail="second signal: not waiting for running requests")
            task.cancel()
        stop.set()

    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup
        signals.append(signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, received)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
