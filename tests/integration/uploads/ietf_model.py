"""A small model of the IETF draft as this server speaks it, in each interop version and without
one; tus requests may come to the same uploads.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from tests.ietf_client import WIRES, Wire
from tests.integration.uploads.tus_model import (
    MAX_SIZE,
    Expected,
    Model,
    ModelUpload,
    Request,
    number,
)

APPEND_MIN, APPEND_MAX = 10, 60_000
VERSION = "Upload-Draft-Interop-Version"
MALFORMED = "sha-256=no"
INCONSISTENT = "inconsistent_upload_length"


def digest(body: bytes) -> str:
    return f"sha-256=:{b64encode(sha256(body).digest()).decode()}:"


def digest_in(field: str) -> bytes:
    return b64decode(field.split(":")[1])


@dataclass(frozen=True)
class Said:
    """A request as the draft reads it. `old`: up to version 6."""

    request: Request
    wire: Wire
    old: bool
    complete: bool | None
    offset: int | None
    length: int | None

    @classmethod
    def of(cls, request: Request) -> "Said | None":
        """None: it is of a version that there is not."""
        said = request.headers
        silent = 3 if "Upload-Incomplete" in said else None
        version = int(said[VERSION]) if VERSION in said else silent
        if version not in WIRES:
            return None
        wire = WIRES[version]
        complete = wire.says_complete(said)
        if version == 3 and wire.header not in said:
            complete = True
        return cls(
            request,
            wire,
            version is not None and version <= 6,
            complete,
            number(said.get("Upload-Offset")),
            number(said.get("Upload-Length")),
        )

    @property
    def body_length(self) -> int | None:
        return None if self.request.chunked else len(self.request.body)

    @property
    def announced(self) -> bool:
        """Is the URL of a creation told before its body is read?"""
        return VERSION in self.request.headers and self.body_length != 0

    @property
    def limit(self) -> str | None:
        """How Upload-Limit begins, in the versions that have it."""
        return "max-size" if self.wire.version in (6, 7, 8, None) else None

    def length_told(self, offset: int) -> int | None:
        ends = self.body_length
        return offset + ends if self.complete and ends is not None else self.length

    def flag(self, complete: bool) -> Mapping[str, str | None]:
        return self.wire.flag(complete)

    def refused(
        self,
        status: int,
        code: str,
        *,
        offset: int | None = None,
        complete: bool = False,
        creates: bool = False,
    ) -> Expected:
        headers = {
            **self.flag(complete),
            "Upload-Offset": None if offset is None else str(offset),
            "Upload-Limit": self.limit if code in ("too_large", "append_too_small") else None,
        }
        return Expected(status, headers, code, creates, announced=creates)


class IetfModel(Model):
    """Knows what the rules of two protocols do to one upload."""

    def expect(self, request: Request) -> Expected:
        said = request.headers
        speaks = (
            any(name in said for name in ("Upload-Complete", "Upload-Incomplete", VERSION))
            or said.get("Content-Type") == "application/partial-upload"
            or request.method in ("HEAD", "GET", "DELETE")
        )
        if request.query:
            return self._peek(self._at(request))
        if "Tus-Resumable" in said or not speaks:
            return super().expect(request)
        asked = Said.of(request)
        if asked is None:
            return Expected(400, {"Upload-Complete": "?0"}, "unsupported_interop_version")
        if request.method == "POST":
            return self._creation(asked)
        if request.method == "PATCH":
            return self._append(asked, self._at(request))
        extra = {"Upload-Offset", "Upload-Complete", "Upload-Incomplete", "Upload-Length"}
        if asked.old and extra & set(said):
            return asked.refused(400, "bad_request")
        upload = self._at(request)
        if request.method == "DELETE":
            return self._cancel(asked, upload)
        if upload is None or upload.gone or upload.expired:
            return asked.refused(404, "not_found")
        if not self._taken(upload):
            return asked.refused(400, "bad_digest", complete=True)
        return Expected(204, {**self._standing(asked, upload), "Cache-Control": "no-store"})

    def _at(self, request: Request) -> ModelUpload | None:
        return None if request.target is None else self.uploads[request.target]

    def _peek(self, upload: ModelUpload | None) -> Expected:
        if upload is None or upload.gone or upload.expired:
            return Expected(404)
        headers = {
            "Upload-Offset": str(upload.offset),
            "Upload-Complete": "?1" if upload.finished else "?0",
            "Upload-Length": None if upload.length is None else str(upload.length),
        }
        return Expected(200, headers)

    def _cancel(self, said: Said, upload: ModelUpload | None) -> Expected:
        if upload is None or upload.gone or upload.expired:
            return said.refused(404, "not_found")
        if upload.finished:
            return said.refused(409, "conflict")
        upload.gone = True
        return Expected(204)

    def _standing(self, said: Said, upload: ModelUpload) -> Mapping[str, str | None]:
        return {
            **said.flag(upload.finished),
            "Upload-Offset": str(upload.offset),
            "Upload-Length": None if upload.length is None else str(upload.length),
            "Upload-Limit": said.limit,
        }

    def _final(self, said: Said, upload: ModelUpload) -> Expected:
        wanted = "Want-Repr-Digest" in said.request.headers
        known = upload.content in self.digests_known
        headers = {
            **said.flag(True),
            "Location": "/v1/uploads/{id}" if said.old else "/v1/objects/{id}",
            "Content-Location": "/v1/objects/{id}" if said.old else None,
            "Upload-Offset": str(upload.offset) if said.old else None,
            "Repr-Digest": digest(upload.content) if wanted and known else None,
        }
        return Expected(201, headers)

    def _creation(self, said: Said) -> Expected:
        refused = self._refused_creation(said)
        if refused is not None:
            return refused
        declared = said.request.headers.get("Repr-Digest")
        upload = ModelUpload(
            said.length_told(0),
            b"",
            None,
            None if declared is None else digest_in(declared),
            ended_by_a_flag=True,
        )
        expected = self._take_in(said, upload)
        if expected.status < 400 and not upload.finished:
            expected = Expected(201, {**expected.headers, "Location": "/v1/uploads/{id}"})
        creates = said.announced or expected.status == 201
        headers = dict(expected.headers)
        if expected.status >= 400 and not creates:
            headers["Upload-Offset"] = None
        if creates:
            self.uploads.append(upload)
        return Expected(expected.status, headers, expected.code, creates, said.announced)

    def _refused_creation(self, said: Said) -> Expected | None:
        coming, length = said.body_length, said.length
        if said.complete is None:
            return said.refused(400, "bad_request")
        if said.complete and coming is not None and length not in (None, coming):
            return said.refused(400, INCONSISTENT)
        if length is not None and length > MAX_SIZE:
            return said.refused(413, "too_large")
        if (limited := self._limited(said, creates=True)) is not None:
            return limited
        if coming is not None and length is not None and coming > length:
            return said.refused(400, INCONSISTENT)
        return self._malformed(said)

    def _malformed(self, said: Said) -> Expected | None:
        fields = ("Repr-Digest", "Content-Digest", "Want-Repr-Digest")
        if any(said.request.headers.get(name) == MALFORMED for name in fields):
            return said.refused(400, "bad_checksum")
        return None

    def _limited(self, said: Said, *, creates: bool) -> Expected | None:
        coming = said.body_length
        if coming is None:
            return None
        if coming > APPEND_MAX:
            return said.refused(413, "too_large")
        if coming < APPEND_MIN and not said.complete and not (creates and coming == 0):
            return said.refused(400, "append_too_small")
        return None

    def _append(self, said: Said, upload: ModelUpload | None) -> Expected:
        """The checks that come before the body, and then the body."""
        typed = said.request.headers.get("Content-Type")
        if said.offset is None:
            return said.refused(400, "bad_length")
        if said.complete is None:
            return said.refused(400, "bad_request")
        if said.wire.append_type not in (None, typed):
            return said.refused(415, "unsupported_media_type")
        refused = self._malformed(said) or self._limited(said, creates=False)
        if refused is not None:
            return refused
        if upload is None or upload.gone or upload.expired:
            return said.refused(404, "not_found")
        if said.offset != upload.offset:
            return said.refused(409, "mismatching_upload_offset", offset=upload.offset)
        if not self._taken(upload):
            return said.refused(400, "bad_digest", complete=True)
        if upload.finished:
            if said.body_length != 0:
                return said.refused(400, INCONSISTENT)
            return self._final(said, upload)
        refused = self._refused_length(said, upload)
        return self._take_in(said, upload) if refused is None else refused

    def _refused_length(self, said: Said, upload: ModelUpload) -> Expected | None:
        """What is wrong with the length that is told; nothing: it is recorded."""
        offset, coming, known = upload.offset, said.body_length, upload.length
        told = said.length_told(offset)
        if said.length is not None and told != said.length:
            return said.refused(400, INCONSISTENT)
        if told is not None and told > MAX_SIZE:
            return said.refused(413, "too_large")
        if coming is not None and known is not None and offset + coming > known:
            upload.gone = True
            return said.refused(400, INCONSISTENT)
        if told is None or told == known:
            return None
        if known is not None or told < offset + (coming or 0):
            return said.refused(400, INCONSISTENT, offset=offset)
        upload.length = told
        return None

    def _take_in(self, said: Said, upload: ModelUpload) -> Expected:
        body, before = said.request.body, upload.offset
        if upload.length is not None and before + len(body) > upload.length:
            upload.gone = True
            return said.refused(400, INCONSISTENT)
        if len(body) > APPEND_MAX:
            return said.refused(413, "too_large")
        declared = said.request.headers.get("Content-Digest")
        if declared is not None and digest_in(declared) != sha256(body).digest():
            return said.refused(400, "content_digest_mismatch", offset=before)
        upload.content += body
        if said.complete and upload.length is not None and upload.offset < upload.length:
            return said.refused(400, INCONSISTENT, offset=upload.offset)
        if (said.complete or upload.whole) and not self._finish(upload):
            return said.refused(400, "bad_digest", complete=True)
        if said.complete:
            return self._final(said, upload)
        return Expected(201 if said.old else 204, self._standing(said, upload))
