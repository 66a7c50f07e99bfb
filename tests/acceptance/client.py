"""A plain HTTP/1.1 client over the standard library: nothing of the service's own stack."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60.0
TUS = {"Tus-Resumable": "1.0.0"}
OFFSET_TYPE = {"Content-Type": "application/offset+octet-stream"}


class Unreachable(Exception):
    """No whole answer came: refused, reset, cut short or timed out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of a problem document."""
        if self.headers.get("content-type") != "application/problem+json":
            raise AssertionError(f"{self.status} without a problem document: {self.body[:300]!r}")
        return str(self.json()["code"])

    @property
    def offset(self) -> int:
        return int(self.headers["upload-offset"])


@dataclass(frozen=True, slots=True)
class Client:
    """Requests to one server, each on a connection of its own."""

    url: str
    key: str
    timeout_seconds: float = TIMEOUT_SECONDS

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Answer:
        """One request; `path` may be a whole URL of this server. Raises Unreachable."""
        parts = urlsplit(path)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        host, port = self.address
        connection = http.client.HTTPConnection(host, port, timeout=self.timeout_seconds)
        try:
            connection.request(method, target, body, {**self.bearer, **(headers or {})})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=_dashed(headers))

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)

    # Objects

    def post(self, data: Any, *, query: str = "", **headers: str) -> Answer:
        """Upload in one request."""
        return self.request("POST", "/v1/objects" + query, headers=_dashed(headers), body=data)

    def made(self, data: Any, **headers: str) -> dict[str, Any]:
        """Upload in one request and expect it to work: the object."""
        answer = self.post(data, **headers)
        if answer.status != 201:
            raise AssertionError(f"{answer.status}: {answer.body!r}")
        document: dict[str, Any] = answer.json()
        return document

    def content(self, id_: str) -> bytes:
        answer = self.get(f"/v1/objects/{id_}/content")
        if answer.status != 200:
            raise AssertionError(f"{answer.status}: {answer.body[:300]!r}")
        return answer.body

    # tus, by hand

    def create(self, length: int, **headers: str) -> str:
        """A new upload's URL."""
        answer = self.request(
            "POST",
            "/v1/uploads",
            headers={**TUS, "Upload-Length": str(length), **_dashed(headers)},
        )
        if answer.status != 201:
            raise AssertionError(f"{answer.status}: {answer.body!r}")
        return answer.headers["location"]

    def head(self, upload: str) -> Answer:
        return self.request("HEAD", upload, headers=TUS)

    def offset(self, upload: str) -> int:
        """The acknowledged offset, as a resuming client asks for it."""
        answer = self.head(upload)
        if answer.status not in (200, 204):
            raise AssertionError(f"HEAD {upload}: {answer.status}")
        return answer.offset

    def patch(self, upload: str, offset: int, data: Any, **headers: str) -> Answer:
        return self.request(
            "PATCH",
            upload,
            headers={**TUS, **OFFSET_TYPE, "Upload-Offset": str(offset), **_dashed(headers)},
            body=data,
        )

    # Raw sockets

    @contextmanager
    def socket(self) -> Iterator[socket.socket]:
        """A connection, for requests that no library would send."""
        with socket.create_connection(self.address, timeout=self.timeout_seconds) as opened:
            yield opened

    def exchange(self, request: bytes, *, half_close: bool = False) -> bytes:
        """Send these bytes and read until the server closes. b"" when it says nothing."""
        with self.socket() as opened:
            try:
                opened.sendall(request)
                if half_close:
                    opened.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it refused before all was sent: its answer is what counts
            return read_to_end(opened)

    def head_of_patch(self, upload: str, offset: int, length: int) -> bytes:
        """The header section of a PATCH that promises `length` bytes."""
        lines = {
            "Host": urlsplit(self.url).netloc,
            **self.bearer,
            **TUS,
            **OFFSET_TYPE,
            "Upload-Offset": str(offset),
            "Content-Length": str(length),
        }
        path = urlsplit(upload).path
        fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"PATCH {path} HTTP/1.1\r\n{fields}\r\n".encode()


def read_to_end(opened: socket.socket) -> bytes:
    """What the peer sends until it closes or resets the connection."""
    received = bytearray()
    try:
        while piece := opened.recv(65536):
            received += piece
    except ConnectionError:
        pass
    return bytes(received)


def id_of(upload: str) -> str:
    """A finished upload's id is its object's."""
    return upload.rpartition("/")[2]


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
