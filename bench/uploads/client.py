"""The client program of bench/uploads: `python -m bench.uploads.client < job > result`.

One job is a number of uploads of one size, over some keep-alive connections at once. It writes
requests and reads answers on a bare asyncio Protocol, in a process of its own, so that its CPU
disturbs the servers as little as can be. All bodies are random and made before the clock starts: no
two uploads of a job, and no two chunks, are the same.
"""

import asyncio
import json
import os
import random
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_LOCATION = re.compile(rb"(?i)\r\nlocation: *([^\r]+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
_OFFSET = re.compile(rb"(?i)\r\nupload-offset: *(\d+)")
_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Job:
    """`count` uploads of `size` bytes to `path`, `connections` at once.

    `requests`: 1 is a creation with its upload (POST), 2 is POST, then PATCH. `seed` names the
    bytes: the same seed, the same bytes; None, bytes never seen before.
    """

    port: int
    path: str
    headers: Mapping[str, str]
    size: int
    count: int
    connections: int
    requests: int
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How long a job took as a whole, and each of its uploads."""

    seconds: float
    upload_seconds: list[float]


class Failed(Exception):
    """The server did not answer as tus 1.0 says that it does."""


class Connection(asyncio.Protocol):
    """One keep-alive connection: one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answered: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_HEAD_END)
        if end < 0:
            return
        head = bytes(self._received[:end])
        whole = end + self._rest_bytes(head, end)
        if len(self._received) >= whole and self._answered is not None:
            del self._received[:whole]
            answered, self._answered = self._answered, None
            answered.set_result(head)

    def _rest_bytes(self, head: bytes, end: int) -> int:
        """How much belongs to the answer whose head ends at `end`; too much until all is there."""
        if _CHUNKED.search(head):
            last = self._received.find(_LAST_CHUNK, end + 2)
            return sys.maxsize if last < 0 else last + len(_LAST_CHUNK) - end
        length = _LENGTH.search(head)
        return len(_HEAD_END) + (int(length[1]) if length else 0)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None:
            self._answered.set_exception(exc or Failed("the server closed the connection"))

    async def ask(self, head: bytes, body: bytes = b"") -> bytes:
        """Send a request; the status line and headers of the answer."""
        if self._transport is None:
            raise Failed("not connected")
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.writelines([head, body] if body else [head])
        return await self._answered

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Requests:
    """The heads of a job's requests."""

    def __init__(self, job: Job) -> None:
        common = {
            "Host": f"127.0.0.1:{job.port}",
            "Tus-Resumable": "1.0.0",
            **job.headers,
        }
        self._common = "".join(f"{name}: {value}\r\n" for name, value in common.items())
        typed = f"Content-Type: application/offset+octet-stream\r\nContent-Length: {job.size}\r\n"
        creation = f"POST {job.path} HTTP/1.1\r\n{self._common}Upload-Length: {job.size}\r\n"
        self.create_with_upload = f"{creation}{typed}\r\n".encode()
        self.create = f"{creation}Content-Length: 0\r\n\r\n".encode()
        self._append = f"{self._common}Upload-Offset: 0\r\n{typed}\r\n"

    def append(self, created: bytes) -> bytes:
        """The PATCH to the upload that the answer `created` names."""
        location = _LOCATION.search(created)
        if location is None:
            raise Failed("an answer without Location")
        path = re.sub(r"^https?://[^/]+", "", location[1].decode())
        return f"PATCH {path} HTTP/1.1\r\n{self._append}".encode()


async def upload(connection: Connection, job: Job, requests: Requests, body: bytes) -> float:
    """One upload; its seconds."""
    began = time.perf_counter()
    if job.requests == 1:
        answer = _checked(await connection.ask(requests.create_with_upload, body), b"201")
    else:
        created = _checked(await connection.ask(requests.create), b"201")
        answer = _checked(await connection.ask(requests.append(created), body), b"204")
    offset = _OFFSET.search(answer)
    if offset is None or int(offset[1]) != job.size:
        raise Failed(f"not all was acknowledged: {answer!r}")
    return time.perf_counter() - began


def _checked(head: bytes, status: bytes) -> bytes:
    if head.split(b" ", 2)[1] != status:
        raise Failed(f"{head!r} instead of {status!r}")
    return head


async def run(job: Job) -> Result:
    loop = asyncio.get_running_loop()
    source = random.Random(job.seed)
    bodies = [
        os.urandom(job.size) if job.seed is None else source.randbytes(job.size)
        for _ in range(job.count)
    ]
    connections = [
        (await loop.create_connection(Connection, "127.0.0.1", job.port))[1]
        for _ in range(job.connections)
    ]
    requests = Requests(job)
    seconds: list[float] = []

    async def worker(connection: Connection) -> None:
        while bodies:
            seconds.append(await upload(connection, job, requests, bodies.pop()))

    began = time.perf_counter()
    await asyncio.gather(*(worker(connection) for connection in connections))
    took = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return Result(took, seconds)


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Job(**json.load(sys.stdin)))))))
