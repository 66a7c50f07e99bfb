"""wrk as the client: requests for one URL, over and over, on connections that stay open."""

import re
import subprocess
from dataclasses import dataclass

from bench.origin.servers import Target
from bench.processes import program

_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_REQUESTS = re.compile(r"(\d+) requests in ")
_FAILED = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk came to."""

    requests: int
    rate: float


def load(target: Target, file: str, *, connections: int, seconds: int) -> Load:
    """Raises SystemExit if any request failed."""
    command = [
        program("wrk"),
        *("--threads", "1", "--connections", str(connections)),
        *("--duration", f"{seconds}s", "--timeout", "30s"),
        *(part for name, value in target.headers.items() for part in ("-H", f"{name}: {value}")),
        target.url(file),
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate, requests, failed = (pattern.search(output) for pattern in (_RATE, _REQUESTS, _FAILED))
    if rate is None or requests is None or failed is not None:
        raise SystemExit(f"wrk met errors at {target.name}:\n{output}")
    return Load(int(requests[1]), float(rate[1]))
