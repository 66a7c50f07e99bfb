"""The load of bench/gc: `python -m bench.gc.load_client < job > result`.

Uploads of bytes never seen before and reads of what was uploaded at the start, mixed, over
keep-alive connections. At a rate, requests have moments at which they are due, and count from then:
a server that stalls does not slow the load down. Without one, it is as fast as it goes.
"""

import asyncio
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import uvloop

from bench.uploads import client
from bench.uploads.client import Connection, Requests

UPLOAD_EVERY = 5  # one request in so many
READ_OBJECTS = 64
_ID = re.compile(rb"(?i)\r\nlocation: *[^\r]*/([0-9a-f-]{36})")
_OK = b" 200 "


@dataclass(frozen=True, slots=True)
class Job:
    """`rate` requests a second for `seconds`; None: as fast as `connections` can."""

    port: int
    path: str
    headers: Mapping[str, str]
    size: int
    connections: int
    seconds: float
    rate: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """Requests a second, and the seconds of each upload and each read."""

    rate: float
    uploads: list[float]
    reads: list[float]


async def run(job: Job) -> Result:
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(Connection, "127.0.0.1", job.port))[1]
        for _ in range(job.connections)
    ]
    upload = client.Job(job.port, job.path, job.headers, job.size, 0, 0, 1)
    requests = Requests(upload)
    heads = [
        _reading(job, await connections[0].ask(requests.create_with_upload, os.urandom(job.size)))
        for _ in range(READ_OBJECTS)
    ]
    uploads: list[float] = []
    reads: list[float] = []
    began = time.perf_counter()
    due = _moments(began, job)

    async def worker(connection: Connection) -> None:
        for number, moment in due:
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            if number % UPLOAD_EVERY == 0:
                await client.upload(connection, upload, requests, os.urandom(job.size))
                uploads.append(time.perf_counter() - moment)
            else:
                answer = await connection.ask(heads[number % READ_OBJECTS])
                if _OK not in answer.split(b"\r\n", 1)[0]:
                    raise SystemExit(f"a read was answered {answer!r}")
                reads.append(time.perf_counter() - moment)

    await asyncio.gather(*(worker(connection) for connection in connections))
    took = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return Result((len(uploads) + len(reads)) / took, uploads, reads)


def _moments(began: float, job: Job) -> Iterator[tuple[int, float]]:
    """When each request is due; workers take them in turn."""
    for number in itertools.count():
        moment = time.perf_counter() if job.rate is None else began + number / job.rate
        if moment > began + job.seconds:
            return
        yield number, moment


def _reading(job: Job, created: bytes) -> bytes:
    found = _ID.search(created)
    if found is None:
        raise SystemExit(f"an upload was answered {created!r}")
    common = "".join(f"{name}: {value}\r\n" for name, value in job.headers.items())
    path = f"/v1/objects/{found[1].decode()}/content"
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\n{common}\r\n".encode()


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Job(**json.load(sys.stdin)))))))
