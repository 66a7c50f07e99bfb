"""What caches are told of an answer: how long, for whom, and the tags to forget it by.

Three headers say the same tags, each as one kind of CDN reads it. The limits that they keep to are
the narrowest of all: 50 tags, 256 visible ASCII characters each and no comma (CloudFront), 16,384
bytes a header (Fastly, Cloudflare). A purge names the blob: it is complete. Object and owner are
those of the oldest live object that the blob has in the tenant.
"""

from collections.abc import Sequence
from email.utils import formatdate

from blake3 import blake3

from mediastore.catalog.reading import ReadableContent
from mediastore.delivery.granting import Grant
from mediastore.settings import CdnSettings

Fields = list[tuple[str, str]]
YEAR_SECONDS = 31_536_000
_OWNER_TAG_BYTES = 16
_SEPARATORS = {"Cache-Tag": ",", "Surrogate-Key": " ", "xkey": " "}


def cache_fields(grant: Grant, cdn: CdnSettings) -> Fields:
    """Content-addressed URLs never change (RFC 8246). No s-maxage: that would also forbid serving
    stale (RFC 9111, 5.2.2.10), so CDNs are told by a field of their own (RFC 9213).
    """
    if not grant.lasting:
        return [("Cache-Control", "private, no-cache")]
    if grant.seconds_max is not None:
        scope = "public" if grant.shared else "private"
        return [("Cache-Control", f"{scope}, max-age={grant.seconds_max}")]
    if not grant.shared:
        return [("Cache-Control", f"private, max-age={YEAR_SECONDS}, immutable")]
    if grant.until is not None:  # fresh, and given to anybody, for as long as its link is good
        return [
            ("Cache-Control", "public, immutable"),
            ("Expires", formatdate(grant.until, usegmt=True)),
        ]
    for_cdn = (
        f"max-age={cdn.max_age_seconds}, "
        f"stale-while-revalidate={cdn.stale_while_revalidate_seconds}, "
        f"stale-if-error={cdn.stale_if_error_seconds}"
    )
    return [
        ("Cache-Control", f"public, max-age={YEAR_SECONDS}, immutable"),
        ("CDN-Cache-Control", for_cdn),
    ]


def blob_tag(blob: bytes) -> str:
    """What purges name."""
    return f"blob-{blob.hex()}"


def tags_of(content: ReadableContent) -> list[str]:
    """The tags of what an object gives to read. An owner's is a hash: owners are private text."""
    return [
        blob_tag(content.blob if content.source is None else content.source),
        f"object-{content.id}",
        owner_tag(content.tenant, content.owner),
        f"tenant-{content.tenant}",
    ]


def owner_tag(tenant: str, owner: str) -> str:
    """One for all objects of an owner; an owner of that name of another tenant has another."""
    named = f"{tenant}\0{owner}".encode()
    return f"owner-{blake3(named).digest(_OWNER_TAG_BYTES).hex()}"


def tag_fields(tags: Sequence[str], cdn: CdnSettings) -> Fields:
    return [(name, _SEPARATORS[name].join(tags)) for name in cdn.tag_headers]
