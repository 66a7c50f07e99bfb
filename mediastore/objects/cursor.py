"""Page cursors: opaque to clients, bound to the listing that gave them out.

A cursor is base64url of the last id shown and a checksum over that id and the listing's filters, so
one that was cut short, made up or taken to another listing is refused instead of silently skipping
rows. It grants nothing: every page is filtered by the tenant of the key that asks for it.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from blake3 import blake3

from mediastore.errors import BadCursor

_ID_BYTES = 16
_CHECK_BYTES = 8
_LENGTH = 32  # of base64 without padding: 24 bytes


def make_cursor(last: UUID, *, tenant: str, owner: str | None, trash: bool) -> str:
    """The cursor of the page after the one that ended with `last`."""
    return urlsafe_b64encode(last.bytes + _check(last.bytes, tenant, owner, trash)).decode()


def read_cursor(cursor: str, *, tenant: str, owner: str | None, trash: bool) -> UUID:
    """The id that the page before ended with. Raises BadCursor."""
    if len(cursor) != _LENGTH:
        raise BadCursor
    try:
        packed = urlsafe_b64decode(cursor)
    except (binascii.Error, ValueError):
        raise BadCursor from None
    last, check = packed[:_ID_BYTES], packed[_ID_BYTES:]
    if len(check) != _CHECK_BYTES or check != _check(last, tenant, owner, trash):
        raise BadCursor
    return UUID(bytes=last)


def _check(last: bytes, tenant: str, owner: str | None, trash: bool) -> bytes:
    filters = repr((tenant, owner, trash)).encode("utf-8", "surrogatepass")
    return blake3(last + filters, derive_key_context="mediastore page cursor v1").digest(
        _CHECK_BYTES
    )
