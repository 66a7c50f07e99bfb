"""A small model of tus 1.0.0 as this server speaks it: what each request is answered, and what it
changes. It knows bytes and offsets, nothing of chunks, batches, epochs or SQL.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha1, sha256

MAX_SIZE = 1 << 40
TYPE = "application/offset+octet-stream"
UNKNOWN = "/v1/uploads/00000000-0000-0000-0000-000000000007"


@dataclass(frozen=True)
class Request:
    """One request; `target` names an upload of the model, None the creation URL. `chunked`: only
    the body's end tells how long it is.
    """

    method: str
    target: int | None
    headers: dict[str, str]
    body: bytes = b""
    chunked: bool = False
    query: str = ""


@dataclass(frozen=True)
class Expected:
    """`creates`: the client learns the URL of a new upload; `announced`: from a 104. `{id}` in a
    header is the upload's.
    """

    status: int
    headers: Mapping[str, str | None] = field(default_factory=dict)
    code: str | None = None
    creates: bool = False
    announced: bool = False


@dataclass
class ModelUpload:
    """`gone`: terminated or refused at its end. An object once it is `finished`. One that is ended
    by a flag is not finished by reaching its length.
    """

    length: int | None
    content: bytes
    metadata: str | None
    digest: bytes | None
    finished: bool = False
    expired: bool = False
    gone: bool = False
    ended_by_a_flag: bool = False

    @property
    def whole(self) -> bool:
        return self.offset == self.length and not self.ended_by_a_flag

    @property
    def offset(self) -> int:
        return len(self.content)


def number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None


def checksum(body: bytes) -> str:
    return f"sha1 {b64encode(sha1(body).digest()).decode()}"


def metadata(digest: bytes | None) -> str:
    """A valid header; with a declared sha-256 of the whole content, maybe a wrong one."""
    if digest is None:
        return "kind YQ==,is_private"
    return f"kind YQ==,sha-256 {b64encode(digest.hex().encode()).decode()}"


class Model:
    def __init__(self, digests_known: set[bytes]) -> None:
        """`digests_known`: contents with a sha-256 that a client has declared."""
        self.digests_known = digests_known
        self.uploads: list[ModelUpload] = []
        self.declared: bytes | None = None  # by the creation that is being answered

    def expect(self, request: Request) -> Expected:
        """The answer; what the request changes is changed."""
        if request.headers.get("Tus-Resumable") != "1.0.0":
            return Expected(412, {"Tus-Version": "1.0.0"})
        if request.method == "POST":
            return self._create(request)
        target = self.uploads[request.target] if request.target is not None else None
        if request.method == "PATCH":
            return self._patch(request, target)
        if target is None or target.gone or target.expired:
            return Expected(404)
        if request.method == "HEAD":
            return self._head(target) if self._taken(target) else Expected(400)
        if target.finished:
            return Expected(409)
        target.gone = True
        return Expected(204)

    def _head(self, upload: ModelUpload) -> Expected:
        known = upload.length is not None
        said = {
            "Upload-Offset": str(upload.offset),
            "Upload-Length": str(upload.length) if known else None,
            "Upload-Defer-Length": None if known else "1",
        }
        if not upload.finished:
            said["Upload-Metadata"] = upload.metadata
        return Expected(200, said)

    def _create(self, request: Request) -> Expected:
        said, body = request.headers, request.body
        length = number(said.get("Upload-Length"))
        deferred = said.get("Upload-Defer-Length")
        if (deferred is None) == (length is None) or deferred not in (None, "1"):
            return Expected(400)
        if length is not None and length > MAX_SIZE:
            return Expected(413)
        meta = said.get("Upload-Metadata")
        if meta is not None and "!" in meta:
            return Expected(400)
        digest = None
        if meta is not None and "sha-256" in meta:
            digest = self.declared
        refused = self._refused(request, 0, length)
        if refused is not None:
            return Expected(refused)
        upload = ModelUpload(length, body, meta, digest)
        if not self._taken(upload):
            return Expected(400)
        self.uploads.append(upload)
        return Expected(201, {"Upload-Offset": str(upload.offset)}, creates=True)

    def _patch(self, request: Request, upload: ModelUpload | None) -> Expected:
        said, body = request.headers, request.body
        if said.get("Content-Type") != TYPE:
            return Expected(415)
        offset, length = number(said.get("Upload-Offset")), number(said.get("Upload-Length"))
        if offset is None or ("Upload-Length" in said and length is None):
            return Expected(400)
        if length is not None and length > MAX_SIZE:
            return Expected(413)
        if "!" in said.get("Upload-Checksum", ""):
            return Expected(400)
        if upload is None or upload.gone or upload.expired:
            return Expected(404)
        here = {"Upload-Offset": str(upload.offset)}
        if offset != upload.offset:
            return Expected(409, here)
        if not self._taken(upload):
            return Expected(400)
        if length is not None and (length < offset or upload.length not in (None, length)):
            return Expected(400)
        known = upload.length if length is None else length
        if known is not None and offset + len(body) > known:
            return Expected(413)
        upload.length = known
        refused = self._refused(request, offset, known)
        if refused is not None:
            return Expected(refused, here)
        upload.content += body
        if not self._taken(upload):
            return Expected(400)
        return Expected(204, {"Upload-Offset": str(upload.offset)})

    def _refused(self, request: Request, offset: int, length: int | None) -> int | None:
        said, body = request.headers, request.body
        if "!" in said.get("Upload-Checksum", ""):
            return 400
        if request.method == "POST" and body and said.get("Content-Type") != TYPE:
            return 415
        if length is not None and offset + len(body) > length:
            return 413
        if "Upload-Checksum" in said and said["Upload-Checksum"] != checksum(body):
            return 460
        return None

    def _taken(self, upload: ModelUpload) -> bool:
        """Whoever takes an upload that has all its bytes finishes it. False: see `_finish`."""
        return upload.finished or not upload.whole or self._finish(upload)

    def _finish(self, upload: ModelUpload) -> bool:
        """False: the content has not the digest that was declared, and nothing is left of it."""
        if upload.digest is not None and upload.digest != sha256(upload.content).digest():
            upload.gone = True
            return False
        if upload.digest is not None:
            self.digests_known.add(upload.content)
        upload.finished = True
        upload.length = upload.offset
        return True
