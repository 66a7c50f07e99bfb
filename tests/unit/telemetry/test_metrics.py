"""Metrics count what they say, and no client can make up label values."""

from prometheus_client import CollectorRegistry

from mediastore.telemetry.metrics import Metrics


def test_requests_are_counted_and_timed_by_route() -> None:
    metrics = Metrics.create()
    metrics.request_ended("GET", "/v1/objects/{id}", 200, 0.3)
    metrics.request_ended("GET", "/v1/objects/{id}", 200, 0.1)
    labels = {"method": "GET", "route": "/v1/objects/{id}"}
    get = metrics.registry.get_sample_value
    assert get("mediastore_requests_total", {**labels, "status": "200"}) == 2
    assert get("mediastore_request_seconds_bucket", {**labels, "le": "0.25"}) == 1


def test_a_made_up_method_makes_no_series() -> None:
    metrics = Metrics.create()
    for number in range(100):
        metrics.request_ended(f"X{number}", "/", 405, 0)
    get = metrics.registry.get_sample_value
    labels = {"method": "other", "route": "/", "status": "405"}
    assert get("mediastore_requests_total", labels) == 100
    assert get("mediastore_requests_total", {**labels, "method": "X1"}) is None


def test_gauges_are_read_when_they_are_asked_for() -> None:
    metrics = Metrics.create(CollectorRegistry())
    state = [5, 3]
    metrics.watch_pool(lambda: (state[0], state[1]))
    state[1] = 1
    get = metrics.registry.get_sample_value
    assert get("mediastore_catalog_pool_connections") == 5
    assert get("mediastore_catalog_pool_in_use") == 4
