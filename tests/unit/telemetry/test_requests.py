"""Every request is counted under its route and answered with its id."""

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from mediastore.clock import SystemClock
from mediastore.telemetry.access_log import log_by_structlog
from mediastore.telemetry.metrics import Metrics
from mediastore.telemetry.requests import RequestObserver, echo_request_id, observe_requests


def service(metrics: Metrics) -> web.Application:
    async def thing(request: web.Request) -> web.Response:
        if request.match_info["id"] == "bad":
            raise web.HTTPConflict
        return web.Response(text="ok")

    observer = RequestObserver(metrics, SystemClock(), access_log=log_by_structlog)
    app = web.Application(middlewares=[observe_requests(observer)])
    app.on_response_prepare.append(echo_request_id)
    app.router.add_get("/things/{id}", thing)
    return app


async def test_counted_by_pattern_and_status() -> None:
    metrics = Metrics.create()
    async with TestClient(TestServer(service(metrics))) as client:
        for path in ("/things/1", "/things/2", "/things/bad", "/nowhere"):
            async with client.get(path):
                pass

    def count(route: str, status: str) -> float | None:
        labels = {"method": "GET", "route": route, "status": status}
        return metrics.registry.get_sample_value("mediastore_requests_total", labels)

    assert count("/things/{id}", "200") == 2
    assert count("/things/{id}", "409") == 1
    assert count("(none)", "404") == 1
    assert metrics.registry.get_sample_value("mediastore_requests_in_progress") == 0


async def test_a_harmless_request_id_is_kept_and_another_is_replaced() -> None:
    async with TestClient(TestServer(service(Metrics.create()))) as client:
        async with client.get("/things/1", headers={"X-Request-Id": "abc-1"}) as response:
            assert response.headers["X-Request-Id"] == "abc-1"
        async with client.get("/things/1", headers={"X-Request-Id": "a b{}"}) as response:
            assert len(response.headers["X-Request-Id"]) == 32


async def test_the_log_line_has_no_query_string() -> None:
    with capture_logs() as logged:
        async with TestClient(TestServer(service(Metrics.create()))) as client:
            async with client.get("/things/1?signature=s3cret"):
                pass
    (line,) = [entry for entry in logged if entry["event"] == "request"]
    assert line["path"] == "/things/1"
    assert "s3cret" not in str(line)
