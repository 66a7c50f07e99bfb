"""The collector's /metrics: a listener of its own, for as long as a run lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from mediastore.errors import BadSettings

log = structlog.get_logger(__name__)


@contextmanager
def metrics_listening(registry: CollectorRegistry, host: str, port: int | None) -> Iterator[None]:
    """/metrics on this address; port 0: a free one, which the log tells. None: not at all.

    Raises BadSettings where it cannot listen there.
    """
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise BadSettings(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    bound = str(server.server_address[0])
    shown = f"[{bound}]" if ":" in bound else bound
    log.info("metrics_listening", url=f"http://{shown}:{server.server_port}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
