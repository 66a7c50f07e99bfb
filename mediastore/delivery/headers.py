"""The headers of content, rendered once for each thing that may be read.

What a browser could run in our origin's name is never shown inline: nosniff on everything, and
outside of an allow-list of types that only draw or play, `attachment` and a sandboxing
Content-Security-Policy.
"""

import re
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote

from mediastore.delivery.conditionals import Validators

INLINE_TYPES = frozenset(
    {
        "application/pdf",
        "audio/aac",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/opus",
        "audio/wav",
        "audio/webm",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/heic",
        "image/heif",
        "image/jpeg",
        "image/jxl",
        "image/png",
        "image/tiff",
        "image/webp",
        "image/x-icon",
        "video/mp4",
        "video/mpeg",
        "video/ogg",
        "video/quicktime",
        "video/webm",
    }
)
SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
UNKNOWN_TYPE = "application/octet-stream"
# Content-addressed URLs never change (RFC 8246). No s-maxage: it would also forbid serving stale.
BLOB_PUBLIC = "public, max-age=31536000, immutable"
BLOB_PRIVATE = "private, max-age=31536000, immutable"
OBJECT = "private, no-cache"
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;[\x20-\x7e]*)?", re.ASCII)
_NOT_IN_QUOTES = re.compile(r'[^\x20-\x7e]|["\\%]')
_UNSAFE_IN_NAME = re.compile(r"[\x00-\x1f\x7f/\\]")
_FILENAME_LENGTH_MAX = 255
_ATTR_CHARS = "!#$&+-.^_`|~"  # RFC 8187, attr-char, beside letters and digits


@dataclass(frozen=True, slots=True)
class HeaderLines:
    """Rendered header lines, each with its CRLF: without Date, Connection and lengths."""

    validators: Validators
    content: bytes
    """For 206."""
    whole: bytes
    """For 200 and its HEAD, with Content-Length."""
    not_modified: bytes
    """For 304: what a cache updates its copy with (RFC 9110, 15.4.5)."""


def render(
    *,
    blob: bytes,
    size: int,
    modified: int,
    content_type: str,
    filename: str | None,
    cache_control: str,
) -> HeaderLines:
    """`size` in bytes, `modified` in Unix seconds; `filename` as it is, in any characters."""
    tag = blob.hex()
    kept = [
        ("Cache-Control", cache_control),
        ("ETag", f'"{tag}"'),
        ("Last-Modified", formatdate(modified, usegmt=True)),
    ]
    safe_type = content_type if _MEDIA_TYPE.fullmatch(content_type) else UNKNOWN_TYPE
    inline = safe_type.partition(";")[0].strip().lower() in INLINE_TYPES
    described = [
        ("Accept-Ranges", "bytes"),
        ("Content-Type", safe_type),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Disposition", content_disposition(filename, inline=inline)),
    ]
    if not inline:
        described.append(("Content-Security-Policy", SANDBOX))
    content = _lines(described + kept)
    return HeaderLines(
        Validators(tag, modified),
        content,
        whole=content + b"Content-Length: %d\r\n" % size,
        not_modified=_lines(kept),
    )


def content_disposition(filename: str | None, *, inline: bool) -> str:
    """RFC 6266: a plain `filename` that every client reads and, where it differs, `filename*`."""
    kind = "inline" if inline else "attachment"
    if not filename:
        return kind
    name = _UNSAFE_IN_NAME.sub("_", filename)[:_FILENAME_LENGTH_MAX]
    plain = _NOT_IN_QUOTES.sub("_", name)
    value = f'{kind}; filename="{plain}"'
    if plain != name:
        encoded = quote(name.encode("utf-8", "replace"), safe=_ATTR_CHARS)
        value += f"; filename*=UTF-8''{encoded}"
    return value


def _lines(fields: list[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("ascii")
