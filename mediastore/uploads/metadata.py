"""What a client says of a new upload: tus `Upload-Metadata`, or a one-request upload's query."""

import json
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from multidict import MultiMapping
from uuid_utils.compat import uuid7

from mediastore.catalog.uploads import UploadDraft
from mediastore.content.hashing import parse_hash
from mediastore.errors import BadMetadata, BadRequest
from mediastore.objects.fields import (
    NAME_LENGTH_MAX,
    OWNER_LENGTH_MAX,
    checked_metadata,
    checked_text,
)

CONTENT_TYPE_DEFAULT = "application/octet-stream"
CONTENT_TYPE_LENGTH_MAX = 255
IDEMPOTENCY_KEY_LENGTH_MAX = 255
_MEDIA_TYPE = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;[\x20-\x7e]*)?"
)
_TUS_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")  # ASCII without space and comma
_QUERY_PARAMETERS = frozenset({"name", "owner", "metadata", "blake3"})


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of an object before it exists."""

    name: str
    owner: str
    content_type: str
    metadata: dict[str, Any]
    declared_hash: bytes | None

    def draft(
        self,
        tenant: str,
        protocol: str,
        *,
        length: int | None,
        idempotency_key: str | None = None,
        concat: str | None = None,
    ) -> UploadDraft:
        """A new upload of what is described; `concat` is "partial" for a part of another."""
        return UploadDraft(
            id=uuid7(),
            tenant=tenant,
            owner=self.owner,
            name=self.name,
            content_type=self.content_type,
            metadata=self.metadata,
            protocol=protocol,
            length=length,
            declared_hash=self.declared_hash,
            idempotency_key=idempotency_key,
            concat=concat,
        )


def from_tus(header: str | None, *, metadata_max_bytes: int) -> Description:
    """`Upload-Metadata` (tus 1.0.0, creation): comma-separated keys, each with a base64 value or
    none.

    `filename` or `name`, `filetype`, `owner` and `blake3` (64 hex) are the object's fields; the
    others are its metadata, all text. Raises BadMetadata for whatever is not valid: nothing is
    guessed.
    """
    pairs = _tus_pairs(header)
    name = pairs.pop("filename", None) or pairs.pop("name", None) or ""
    return _description(
        name=name,
        owner=pairs.pop("owner", ""),
        content_type=pairs.pop("filetype", "") or CONTENT_TYPE_DEFAULT,
        declared_hash=pairs.pop("blake3", None),
        metadata=pairs,
        metadata_max_bytes=metadata_max_bytes,
    )


def from_query(
    query: MultiMapping[str], content_type: str | None, *, metadata_max_bytes: int
) -> Description:
    """`?name=&owner=&metadata={JSON}&blake3=HEX` and the Content-Type of a one-request upload.

    Raises BadMetadata, BadRequest.
    """
    for parameter in query:
        if parameter not in _QUERY_PARAMETERS:
            raise BadRequest(f"this URL takes name, owner, metadata and blake3, not {parameter!r}")
    try:
        metadata = json.loads(query.get("metadata", "{}"))
    except (ValueError, RecursionError):
        raise BadMetadata("metadata must be a JSON object") from None
    return _description(
        name=query.get("name", ""),
        owner=query.get("owner", ""),
        content_type=content_type or CONTENT_TYPE_DEFAULT,
        declared_hash=query.get("blake3"),
        metadata=metadata,
        metadata_max_bytes=metadata_max_bytes,
    )


def checked_idempotency_key(value: str | None) -> str | None:
    """Raises BadRequest unless it is printable ASCII of bounded length."""
    if value is None:
        return None
    if not (
        0 < len(value) <= IDEMPOTENCY_KEY_LENGTH_MAX and value.isascii() and value.isprintable()
    ):
        raise BadRequest(
            f"Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} printable ASCII characters"
        )
    return value


def _description(
    *,
    name: str,
    owner: str,
    content_type: str,
    declared_hash: str | None,
    metadata: object,
    metadata_max_bytes: int,
) -> Description:
    if len(content_type) > CONTENT_TYPE_LENGTH_MAX or not _MEDIA_TYPE.fullmatch(content_type):
        raise BadMetadata("the content type is not a media type")
    try:
        hash_ = None if declared_hash is None else parse_hash(declared_hash)
    except ValueError as error:
        raise BadMetadata(f"blake3: {error}") from None
    return Description(
        checked_text("name", name, NAME_LENGTH_MAX),
        checked_text("owner", owner, OWNER_LENGTH_MAX),
        content_type,
        checked_metadata(metadata, metadata_max_bytes),
        hash_,
    )


def _tus_pairs(header: str | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    if header is None or not header.strip():
        return pairs
    for pair in header.split(","):
        key, _, value = pair.strip(" ").partition(" ")
        if not _TUS_KEY.fullmatch(key) or key in pairs:
            raise BadMetadata("Upload-Metadata has an empty, repeated or non-ASCII key")
        pairs[key] = _decoded(key, value)
    return pairs


def _decoded(key: str, value: str) -> str:
    try:
        return b64decode(value, validate=True).decode()
    except ValueError:  # not base64, not ASCII, or not UTF-8
        raise BadMetadata(
            f"the value of {key!r} in Upload-Metadata is not base64 of UTF-8"
        ) from None
