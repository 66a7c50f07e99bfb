"""Signed links to media, for apps to make by themselves: pure, no I/O, no other module of ours.

The text that is signed is the path as it reads (decoded, UTF-8) and the beginning of the query:

    /media/acme/8124…2390/photo.jpg?exp=1767225600&kid=2026a

The signature is the HMAC-SHA-256 of that text, keyed with the tenant's link secret as it is printed
(`mediastore key link-secret TENANT`), in base64url without padding. It goes to the end of the query
as `&sig=…`; what of the path needs it is percent-encoded in the URL. docs/serving.md has the recipe
for other languages, and test vectors.

    from mediastore.links import media_path, round_up_expiry, sign_link

    expires = round_up_expiry(time.time() + 3600)
    url = "https://media.example.com" + sign_link(
        media_path("acme", blob, "photo.jpg"), expires=expires, key_id="2026a", secret=secret
    )
"""

import hmac
import math
from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import quote

EXPIRY_STEP_SECONDS = 3600
PATH_SAFE = "/,:="  # beside letters, digits and -._~
_PURPOSE = b"mediastore link secret 1\0"
_BLOCK_BYTES = 64  # of SHA-256
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def media_path(*segments: str) -> str:
    """The path of tenant, blob, perhaps a transform, and a file name, as it reads.

    Raises ValueError for a segment that is empty or has a slash: it could be taken for another
    path.
    """
    for segment in segments:
        if not segment or "/" in segment:
            raise ValueError(f"{segment!r} cannot be one segment of a path")
    return "/media/" + "/".join(segments)


def round_up_expiry(moment: float, *, step_seconds: int = EXPIRY_STEP_SECONDS) -> int:
    """The next whole step at or after `moment` (Unix seconds): all links of one step are the same,
    so a CDN keeps one copy for them.
    """
    return math.ceil(moment / step_seconds) * step_seconds


def sign_link(path: str, *, expires: int, key_id: str, secret: str) -> str:
    """`path` (of `media_path`), percent-encoded and signed: good until `expires`, Unix seconds."""
    query = f"?exp={expires}&kid={key_id}"
    signature = LinkSigner(secret.encode()).signature(path + query)
    return f"{quote(path, safe=PATH_SAFE)}{query}&sig={signature}"


class LinkSigner:
    """A secret whose part of the HMAC is done once (RFC 2104, section 4), for many links: a third
    of what the hmac module takes, which tests compare it with.
    """

    def __init__(self, secret: bytes) -> None:
        key = secret if len(secret) <= _BLOCK_BYTES else sha256(secret).digest()
        block = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner, self._outer = (sha256(block.translate(pad)) for pad in (_INNER, _OUTER))

    def signature(self, text: str) -> str:
        """The HMAC-SHA-256 of `text` in base64url without padding: 43 characters."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text.encode("utf-8", "surrogateescape"))
        outer.update(inner.digest())
        return urlsafe_b64encode(outer.digest())[:-1].decode()


def tenant_link_secret(service_secret: str, tenant: str) -> str:
    """A tenant's own secret, 64 hexadecimal digits: who has it can sign for no other tenant."""
    return hmac.digest(service_secret.encode(), _PURPOSE + tenant.encode(), "sha256").hex()
