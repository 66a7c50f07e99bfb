"""The slow clients of bench/uploads/slow.py: `python -m bench.uploads.slow_client < job`.

Every connection creates an upload and begins its PATCH: a part of it at once, then a little every
second, as phones at the edge of a cell do. Prints one line of JSON when all have begun, and one
with what has become of them when standard input ends.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import uvloop

from bench.uploads.client import Connection, Failed, Job, Requests

CREATING_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class SlowJob:
    """`count` uploads of `size` bytes: `first_bytes` at once, then `bytes_per_second`."""

    port: int
    path: str
    headers: Mapping[str, str]
    count: int
    size: int
    first_bytes: int
    bytes_per_second: int


class SlowConnection(Connection):
    """Sends its body piece by piece."""

    async def begin(self, requests: Requests, first: bytes) -> None:
        created = await self.ask(requests.create)
        self._answered = asyncio.get_running_loop().create_future()
        self.send(requests.append(created) + first)

    def send(self, piece: bytes) -> None:
        if self._transport is None:
            raise Failed("not connected")
        self._transport.write(piece)

    @property
    def state(self) -> str:
        """`going`, or why not: the status of an early answer, or that the connection is closed."""
        answered = self._answered
        if answered is None or not answered.done():
            return "going"
        return "closed" if answered.exception() else answered.result().split(b" ", 2)[1].decode()

    def close(self) -> None:
        self._answered = None  # nobody waits for it any more
        super().close()


async def run(job: SlowJob) -> None:
    loop = asyncio.get_running_loop()
    requests = Requests(Job(job.port, job.path, job.headers, job.size, job.count, job.count, 2))
    connections: list[SlowConnection] = []
    places = asyncio.Semaphore(CREATING_AT_ONCE)

    async def begin() -> None:
        async with places:
            _, made = await loop.create_connection(SlowConnection, "127.0.0.1", job.port)
            connections.append(made)
            await made.begin(requests, os.urandom(job.first_bytes))

    await asyncio.gather(*(begin() for _ in range(job.count)))
    print(json.dumps({"begun": len(connections)}), flush=True)
    trickling = asyncio.create_task(_trickle(connections, job.bytes_per_second))
    await loop.run_in_executor(None, sys.stdin.read)
    trickling.cancel()
    print(json.dumps(Counter(one.state for one in connections)), flush=True)
    for one in connections:
        one.close()


async def _trickle(connections: list[SlowConnection], bytes_per_second: int) -> None:
    """Every connection once a second, spread over the second."""
    piece = os.urandom(bytes_per_second)
    while True:
        for one in connections:
            if one.state == "going":
                one.send(piece)
            await asyncio.sleep(1 / len(connections))


if __name__ == "__main__":
    uvloop.run(run(SlowJob(**json.loads(sys.stdin.readline()))))
