"""A customer's web site for browser tests: pages of its own origin, and what was asked of it."""

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.processes import free_port

Pages = Mapping[str, tuple[str, bytes]]


class Site:
    """Serves what `pages` has at this moment, by path: a media type and a body."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.pages: Pages = {}
        self.asked: list[str] = []
        """Path and query of every request, unknown ones included."""
        self.posted: queue.Queue[bytes] = queue.Queue()
        """What pages say, in order."""
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def site(port: int | None = None) -> Iterator[Site]:
    """On a port of its own choice, unless its origin has to be known before."""
    made = Site(free_port() if port is None else port)
    try:
        yield made
    finally:
        made.close()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            kind, body = site.pages.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in site.pages else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            site.asked.append(self.path)
            site.posted.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
