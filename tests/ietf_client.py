"""A small client of the IETF draft, for each of its interop versions: over asyncio's streams, with
nothing of the service's own stack or tables.

It sends what one version says and checks what that version promises. It can break its connection at
any byte, by FIN or by RST, and goes on as the draft says: with the URL from a 104 or from a 201, or
from the beginning when it has none.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from multidict import CIMultiDict

TIMEOUT_SECONDS = 30
PIECE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Wire:
    """What a version puts into requests."""

    version: int | None
    header: str = "Upload-Complete"
    yes: str = "?1"
    no: str = "?0"
    append_type: str | None = "application/partial-upload"

    def flag(self, complete: bool) -> dict[str, str]:
        return {self.header: self.yes if complete else self.no}

    def says_complete(self, headers: Mapping[str, str]) -> bool | None:
        return {self.yes: True, self.no: False}.get(headers.get(self.header, ""))


WIRES = {
    3: Wire(3, header="Upload-Incomplete", yes="?0", no="?1", append_type=None),
    4: Wire(4, append_type=None),
    5: Wire(5, append_type=None),
    6: Wire(6),
    7: Wire(7),
    8: Wire(8),
    None: Wire(None),
}


@dataclass(frozen=True, slots=True)
class Interim:
    status: int
    headers: CIMultiDict[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A final response, and the interim ones before it."""

    status: int
    headers: CIMultiDict[str]
    body: bytes
    interim: list[Interim] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def offset(self) -> int:
        return int(self.headers["Upload-Offset"])


class Cut(Exception):
    """The connection was broken before the final response; `interim` had come by then."""

    def __init__(self, interim: list[Interim]) -> None:
        super().__init__("cut")
        self.interim = interim

    @property
    def location(self) -> str | None:
        return next((i.headers["Location"] for i in self.interim if "Location" in i.headers), None)


@dataclass(slots=True)
class Connection:
    """One connection; requests one after the other."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        stop_at: int | None = None,
    ) -> None:
        """The request, its body up to `stop_at`."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
        until = len(body) if stop_at is None else stop_at
        for start in range(0, until, PIECE_BYTES):
            self.writer.write(body[start : min(start + PIECE_BYTES, until)])
            await self.writer.drain()
        await self.writer.drain()

    async def receive(self, *, head: bool = False) -> Answer:
        """The next final response. Raises Cut, EOF included."""
        interim: list[Interim] = []
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while True:
                    status, headers = await self._head()
                    if status >= 200:
                        break
                    interim.append(Interim(status, headers))
                size = 0 if head or status == 204 else int(headers.get("Content-Length", "0"))
                return Answer(status, headers, await self.reader.readexactly(size), interim)
        except (OSError, asyncio.IncompleteReadError):
            raise Cut(interim) from None

    async def receive_interim(self) -> Interim:
        """The next response, which must be interim."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            status, headers = await self._head()
        assert status < 200, (status, headers)
        return Interim(status, headers)

    async def _head(self) -> tuple[int, CIMultiDict[str]]:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers: CIMultiDict[str] = CIMultiDict()
        for line in filter(None, lines):
            name, _, value = line.partition(": ")
            headers.add(name, value)
        return int(first.split(" ", 2)[1]), headers

    async def abort(self) -> None:
        """RST: what was on its way may be lost."""
        self.writer.transport.abort()
        await self.close()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@dataclass(frozen=True, slots=True)
class IetfClient:
    """Uploads to one server in one version."""

    host: str
    port: int
    key: str
    wire: Wire = WIRES[8]

    @property
    def headers(self) -> dict[str, str]:
        sent = {"Host": f"{self.host}:{self.port}", "Authorization": f"Bearer {self.key}"}
        if self.wire.version is not None:
            sent["Upload-Draft-Interop-Version"] = str(self.wire.version)
        return sent

    async def connect(self) -> Connection:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return Connection(*await asyncio.open_connection(self.host, self.port))

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = await self.connect()
        try:
            size = {} if body is None else {"Content-Length": str(len(body))}
            await connection.send(method, path, {**self.headers, **size, **headers}, body or b"")
            return await connection.receive(head=method == "HEAD")
        finally:
            await connection.close()

    async def create(
        self, data: bytes, *, complete: bool, path: str = "/v1/uploads", **headers: str
    ) -> Answer:
        said = {**self.wire.flag(complete), **_dashed(headers)}
        return await self.request("POST", path, said, data)

    async def offset(self, url: str, method: str = "HEAD") -> Answer:
        return await self.request(method, path_of(url), {})

    async def append(
        self, url: str, offset: int, data: bytes, *, complete: bool, **headers: str
    ) -> Answer:
        said = {**self.append_headers(offset, complete=complete), **_dashed(headers)}
        return await self.request("PATCH", path_of(url), said, data)

    def append_headers(self, offset: int, *, complete: bool) -> dict[str, str]:
        typed = {} if self.wire.append_type is None else {"Content-Type": self.wire.append_type}
        return {**self.wire.flag(complete), "Upload-Offset": str(offset), **typed}

    async def cancel(self, url: str) -> Answer:
        return await self.request("DELETE", path_of(url), {})

    async def upload(
        self,
        data: bytes,
        random: Random,
        *,
        cuts: int,
        path: str = "/v1/uploads",
        others: Sequence["IetfClient"] = (),
    ) -> str:
        """All of `data`, over connections of which `cuts` break, each to this client's server or
        to one of `others`: the id of the object.
        """
        url: str | None = None
        left = cuts
        while left >= 0:
            client = random.choice([self, *others])
            try:
                if url is None:
                    said = self.wire.flag(True)
                    final = await client._send("POST", path, said, data, random, breaks=left > 0)
                elif (offset := await client._offset_to_go_on(url, len(data))) is None:
                    return id_of(url)
                else:
                    said = self.append_headers(offset, complete=True)
                    final = await client._send(
                        "PATCH", path_of(url), said, data[offset:], random, breaks=left > 0
                    )
                if final.status == 409:  # a request that broke came after the offset was asked for
                    continue
                assert final.status == 201, final
                assert self.wire.says_complete(final.headers) is True
                return str(final.json()["id"])
            except Cut as broken:
                url = url or broken.location
                left -= 1
        raise AssertionError("the last connection broke by itself")

    async def _offset_to_go_on(self, url: str, length: int) -> int | None:
        """Where to append next; None: the upload is complete."""
        standing = await self.offset(url)
        assert standing.status == 204, standing
        complete = self.wire.says_complete(standing.headers)
        assert complete is not None
        assert standing.offset == length if complete else standing.offset <= length
        return None if complete else standing.offset

    async def _send(
        self,
        method: str,
        path: str,
        said: dict[str, str],
        data: bytes,
        random: Random,
        *,
        breaks: bool,
    ) -> Answer:
        connection = await self.connect()
        headers = {**self.headers, "Content-Length": str(len(data)), **said}
        if not breaks:
            try:
                await connection.send(method, path, headers, data)
                return await connection.receive(head=False)
            finally:
                await connection.close()
        receiving = asyncio.ensure_future(connection.receive())
        stop_at = random.randint(0, len(data))
        try:
            await connection.send(method, path, headers, data, stop_at=stop_at)
            if random.random() < 0.8:
                await asyncio.wait([receiving], timeout=random.random() * 0.05)
        except OSError:
            pass
        await (connection.abort if random.random() < 0.5 else connection.close)()
        return await receiving


def path_of(url: str) -> str:
    """The path of a URL that may have a host."""
    return url if url.startswith("/") else "/" + url.split("/", 3)[3]


def id_of(url: str) -> str:
    """A completed upload's id is its object's."""
    return url.rpartition("/")[2]


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
