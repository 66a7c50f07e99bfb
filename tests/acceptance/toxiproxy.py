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

    def down(self) -> None:
        """Refuse connections, and break those that are open."""
        self._post("/proxies/s3", {"enabled": False})

    def stuck(self) -> None:
        """Take connections and requests; no byte of an answer comes back."""
        self._post(
            "/proxies/s3/toxics",
            {
                "name": "stuck",
                "type": "timeout",
                "stream": "downstream",
                "attributes": {"timeout": 0},
            },
        )

    def broken(self) -> None:
        """Reset every connection after its first 200 bytes of answer."""
        self._post(
            "/proxies/s3/toxics",
            {
                "name": "cut",
                "type": "limit_data",
                "stream": "downstream",
                "attributes": {"bytes": 200},
            },
        )

    def heal(self) -> None:
        self._post("/reset", {})

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
            "/proxies", {"name": "s3", "listen": listen, "upstream": upstream, "enabled": True}
        )
        yield proxy
