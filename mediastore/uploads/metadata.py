"""What a client says of a new upload: tus `Upload-Metadata`, or a one-request upload's query."""

import json
import re
import warnings
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import content_disposition_filename, parse_content_disposition
from multidict import MultiMapping
from uuid_utils.compat import uuid7

from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import UploadDraft
from mediastore.content.hashing import parse_hash
from mediastore.errors import BadMetadata, BadRequest
from mediastore.objects.fields import (
    NAME_LENGTH_MAX,
    OWNER_LENGTH_MAX,
    checked_metadata,
    checked_text,
)
from mediastore.uploads.digest_fields import united

CONTENT_TYPE_DEFAULT = "application/octet-stream"
CONTENT_TYPE_LENGTH_MAX = 255
IDEMPOTENCY_KEY_LENGTH_MAX = 255
_MEDIA_TYPE = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;[\x20-\x7e]*)?"
)
_TUS_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")  # ASCII without space and comma
_TUS_HEADER_LENGTH_MAX = 8190  # of one header field, as this server takes them
_QUERY_PARAMETERS = frozenset({"name", "owner", "metadata", "blake3", "sha-256"})
_QUERY_TEXT = "name, owner, metadata, blake3 and sha-256"


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of an object before it exists."""

    name: str
    owner: str
    content_type: str
    metadata: dict[str, Any]
    declared_hash: bytes | None
    declared_digests: Mapping[str, bytes]

    def draft(
        self,
        tenant: str,
        protocol: str,
        *,
        length: int | None,
        idempotency_key: str | None = None,
        digests: Sequence[Mapping[str, bytes]] = (),
        tus_metadata: str | None = None,
    ) -> UploadDraft:
        """A new upload of what is described; `digests` of its content were declared elsewhere.

        Raises BadDigest if they contradict the description.
        """
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
            declared_digests=united(self.declared_digests, *digests),
            tus_metadata=tus_metadata,
        )


def from_tus(header: str | None, *, metadata_max_bytes: int) -> Description:
    """`Upload-Metadata` (tus 1.0.0, creation): comma-separated keys, each with a base64 value or
    none.

    `filename` or `name`, `filetype` and `owner` are the object's fields, `blake3` and `sha-256` (64
    hex) digests that its content must have; the others are its metadata, all text. Raises
    BadMetadata for whatever is not valid: nothing is guessed.
    """
    pairs = _tus_pairs(header)
    name = pairs.pop("filename", None) or pairs.pop("name", None) or ""
    return _description(
        name=name,
        owner=pairs.pop("owner", ""),
        content_type=pairs.pop("filetype", "") or CONTENT_TYPE_DEFAULT,
        blake3=pairs.pop("blake3", None),
        sha_256=pairs.pop("sha-256", None),
        metadata=pairs,
        metadata_max_bytes=metadata_max_bytes,
    )


def to_tus(made: Object) -> str | None:
    """`Upload-Metadata` for what has become an object: its fields, and its metadata as far as that
    is text under keys that tus can have. None for nothing, and for what is too long for a header.
    """
    pairs = {"filename": made.name, "owner": made.owner}
    if made.content_type != CONTENT_TYPE_DEFAULT:
        pairs["filetype"] = made.content_type
    said = {key: value for key, value in pairs.items() if value}
    for key, value in made.metadata.items():
        if isinstance(value, str) and _TUS_KEY.fullmatch(key):
            said.setdefault(key, value)
    header = ",".join(
        f"{key} {b64encode(value.encode()).decode()}".rstrip() for key, value in said.items()
    )
    return header if 0 < len(header) <= _TUS_HEADER_LENGTH_MAX else None


def from_query(
    query: MultiMapping[str], content_type: str | None, *, metadata_max_bytes: int
) -> Description:
    """`?name=&owner=&metadata={JSON}&blake3=HEX&sha-256=HEX` and the Content-Type of a one-request
    upload.

    Raises BadMetadata, BadRequest.
    """
    for parameter in query:
        if parameter not in _QUERY_PARAMETERS:
            raise BadRequest(f"this URL takes {_QUERY_TEXT}, not {parameter!r}")
    try:
        metadata = json.loads(query.get("metadata", "{}"))
    except (ValueError, RecursionError):
        raise BadMetadata("metadata must be a JSON object") from None
    return _description(
        name=query.get("name", ""),
        owner=query.get("owner", ""),
        content_type=content_type or CONTENT_TYPE_DEFAULT,
        blake3=query.get("blake3"),
        sha_256=query.get("sha-256"),
        metadata=metadata,
        metadata_max_bytes=metadata_max_bytes,
    )


def from_headers(
    query: MultiMapping[str], headers: MultiMapping[str], *, metadata_max_bytes: int
) -> Description:
    """As `from_query`; a name that is not in the query is the filename of Content-Disposition.

    Raises BadMetadata, BadRequest.
    """
    says = from_query(query, headers.get("Content-Type"), metadata_max_bytes=metadata_max_bytes)
    if "name" in query or "Content-Disposition" not in headers:
        return says
    name = _filename(headers["Content-Disposition"])
    return replace(says, name=checked_text("name", name, NAME_LENGTH_MAX))


def _filename(disposition: str) -> str:
    """The filename parameter (RFC 6266), `filename*` first; "" without one. Raises BadMetadata."""
    with warnings.catch_warnings(record=True) as wrong:
        warnings.simplefilter("always")
        _, parameters = parse_content_disposition(disposition)
    if wrong:
        raise BadMetadata("Content-Disposition is not valid")
    return content_disposition_filename(parameters) or ""


def checked_content_type(value: str) -> str:
    """A media type, with parameters or without. Raises BadMetadata."""
    if len(value) > CONTENT_TYPE_LENGTH_MAX or not _MEDIA_TYPE.fullmatch(value):
        raise BadMetadata("the content type is not a media type")
    return value


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
    blake3: str | None,
    sha_256: str | None,
    metadata: object,
    metadata_max_bytes: int,
) -> Description:
    return Description(
        checked_text("name", name, NAME_LENGTH_MAX),
        checked_text("owner", owner, OWNER_LENGTH_MAX),
        checked_content_type(content_type),
        checked_metadata(metadata, metadata_max_bytes),
        None if blake3 is None else _hash("blake3", blake3),
        {} if sha_256 is None else {"sha-256": _hash("sha-256", sha_256)},
    )


def _hash(field: str, text: str) -> bytes:
    try:
        return parse_hash(text)
    except ValueError as error:
        raise BadMetadata(f"{field}: {error}") from None


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
