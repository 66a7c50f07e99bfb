"""The headers of content, rendered once for each thing that may be read.

What a browser could run in our origin's name is never shown inline: nosniff on everything, and
outside of an allow-list of types that only draw or play, `attachment` and a sandboxing
Content-Security-Policy.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote

from mediastore.catalog.reading import ReadableContent
from mediastore.content.digests import MalformedDigest, format_digests, parse_wanted_digests
from mediastore.delivery.caching import cache_fields, tag_fields, tags_of
from mediastore.delivery.conditionals import Validators
from mediastore.delivery.granting import Grant
from mediastore.settings import CdnSettings

INLINE_TYPES = frozenset(
    {
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
# Browsers run a PDF's own script whatever policy is sent with it; only an attachment is not opened.
PDF_TYPE = "application/pdf"
SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
UNKNOWN_TYPE = "application/octet-stream"
DIGEST = "sha-256"
# Of those that RFC 9530 calls active; BLAKE3, which every content has, is not registered.
DIGESTS = ("sha-256", "sha-512")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;[\x20-\x7e]*)?", re.ASCII)
_NOT_IN_QUOTES = re.compile(r'[^\x20-\x7e]|["\\%]')
_UNSAFE_IN_NAME = re.compile(r"[\x00-\x1f\x7f/\\]")
_FILENAME_LENGTH_MAX = 255
_ATTR_CHARS = "!#$&+-.^_`|~"  # RFC 8187, attr-char, beside letters and digits


HeaderFields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the headers of one content differ by."""

    filename: str | None
    grant: Grant
    digest: str | None = DIGEST
    """The algorithm of Repr-Digest; None for a client that wants none."""
    also: HeaderFields = ()
    """More fields, of answers of every status: Vary, Content-Location."""


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
    content_type: bytes
    """For each part of several ranges, which as a whole have another type."""
    but_type: bytes
    """`content` without Content-Type, for the whole of several ranges."""


class HeaderRenderer:
    """Made once from the settings."""

    def __init__(self, cdn: CdnSettings, *, pdf_inline: bool = False) -> None:
        self._cdn = cdn
        self._inline_types = INLINE_TYPES | {PDF_TYPE} if pdf_inline else INLINE_TYPES

    def render(self, content: ReadableContent, asked: Asked) -> HeaderLines:
        """The file name may have any characters; nothing of it becomes a field of its own."""
        tag = content.blob.hex()
        modified = int(content.created_at.timestamp())
        kept = [
            *cache_fields(asked.grant, self._cdn),
            ("ETag", f'"{tag}"'),
            ("Last-Modified", formatdate(modified, usegmt=True)),
            *asked.also,
        ]
        safe_type = content.content_type
        if not _MEDIA_TYPE.fullmatch(safe_type):
            safe_type = UNKNOWN_TYPE
        inline = safe_type.partition(";")[0].strip().lower() in self._inline_types
        described = [
            ("Accept-Ranges", "bytes"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Disposition", content_disposition(asked.filename, inline=inline)),
            # Who may read it may show it in any page; a key's holder, in pages of the same site.
            ("Cross-Origin-Resource-Policy", "cross-origin" if asked.grant.shared else "same-site"),
        ]
        if not inline:
            described.append(("Content-Security-Policy", SANDBOX))
        if asked.digest is not None and content.digests:
            described.append(("Repr-Digest", _repr_digest(content.digests, asked.digest)))
        if asked.grant.shared:
            described += tag_fields(tags_of(content), self._cdn)
        but_type, type_line = _lines(described + kept), _lines([("Content-Type", safe_type)])
        return HeaderLines(
            Validators(tag, modified),
            type_line + but_type,
            whole=b"%bContent-Length: %d\r\n" % (type_line + but_type, content.size),
            not_modified=_lines(kept),
            content_type=type_line,
            but_type=but_type,
        )


def wanted_digest(lines: Sequence[str]) -> str | None:
    """The algorithm that Want-Repr-Digest asks for most (RFC 9530, section 4): ours for one that is
    not understood, None where every one that we have is unwanted.
    """
    try:
        wanted = parse_wanted_digests(lines)
    except MalformedDigest:
        return DIGEST
    return next((algorithm for algorithm in wanted if algorithm in DIGESTS), None)


def _repr_digest(digests: Mapping[str, bytes], algorithm: str) -> str:
    """Of the whole content, whatever part of it is sent; another one where this is not known."""
    known = algorithm if algorithm in digests else min(digests)
    return format_digests({known: digests[known]})


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
