"""Toxiproxy in front of one TCP service, driven over its HTTP API."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import free_port, program, running


@dataclass(frozen=True, slots=True)
class Toxiproxy:
    """`url` leads to the service; what happens on the way is what was asked for last."""

    url: str
    _api: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def down(self) -> None:
        """Refuse connections, and break those that are open."""
        self._post("/proxies/service", {"enabled": False})

    def stuck(self) -> None:
        """Take connections and requests; no byte of an answer comes back."""
        self._toxic("timeout", "downstream", timeout=0)

    def broken(self, after_bytes: int = 200) -> None:
        """Close every connection after its first bytes of answers."""
        self._toxic("limit_data", "downstream", bytes=after_bytes)

    def reset(self) -> None:
        """Reset every connection, as a host does that knows nothing of it."""
        self._toxic("reset_peer", "upstream", timeout=0)

    def far(self, latency_ms: int, jitter_ms: int) -> None:
        """Everything takes this long, there and back."""
        for stream in ("upstream", "downstream"):
            self._toxic("latency", stream, latency=latency_ms, jitter=jitter_ms)

    def cut(self, after_bytes: int) -> None:
        """Break every connection after this many bytes of requests."""
        self._toxic("limit_data", "upstream", bytes=after_bytes)

    def forgetful(self, toxicity: float) -> None:
        """Of this share of connections, take the requests and lose the answers."""
        self._toxic("limit_data", "downstream", toxicity, bytes=1)

    def silent(self) -> None:
        """Connections stay open, new ones are taken, and no byte of a request arrives. When this
        is healed they break.
        """
        self._toxic("timeout", "upstream", timeout=0)

    def thin(self, rate_kb_per_second: int) -> None:
        """Requests arrive no faster than this."""
        self._toxic("bandwidth", "upstream", rate=rate_kb_per_second)

    def heal(self) -> None:
        self._post("/reset", {})

    def _toxic(self, kind: str, stream: str, toxicity: float = 1, **attributes: int) -> None:
        toxic = {"type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        self._post("/proxies/service/toxics", toxic)

    def _post(self, path: str, document: Any) -> None:
        request = urllib.request.Request(
            self._api + path,
            data=json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        urllib.request.urlopen(request, timeout=5).close()


@contextmanager
def toxiproxy(folder: Path, upstream_port: int) -> Iterator[Toxiproxy]:
    api, port = free_port(), free_port()
    # `go install` names the program after its folder.
    name = "toxiproxy-server" if shutil.which("toxiproxy-server") else "server"
    command = [program(name), "-host", "127.0.0.1", "-port", str(api)]
    with running(command, api, folder / "toxiproxy.log", {"LOG_LEVEL": "error"}) as server:
        proxy = Toxiproxy(f"http://127.0.0.1:{port}", server.url)
        listen, upstream = f"127.0.0.1:{port}", f"127.0.0.1:{upstream_port}"
        proxy._post(
            "/proxies", {"name": "service", "listen": listen, "upstream": upstream, "enabled": True}
        )
        yield proxy
