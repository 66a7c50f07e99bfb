"""Checks and makes signed links to media: secrets of the current key and earlier ones, and time.

The recipe is in `mediastore.links`, which apps use too. Every tenant has secrets of its own, made
from the service's, so an app that signs for one tenant opens nothing of another (INV-10). What is
not good is not told apart: forged, expired, for another path or not signed at all.
"""

import hmac
import re
from urllib.parse import unquote

from mediastore.clock import Clock
from mediastore.errors import BadRequest
from mediastore.links import LinkSigner, round_up_expiry, sign_link, tenant_link_secret
from mediastore.origin_errors import LinksNotConfigured
from mediastore.settings import LinksSettings

# One form, so that one link has one URL: what a CDN keeps cannot be multiplied by variations of it.
_QUERY = re.compile(r"(exp=([1-9][0-9]{0,11})&kid=([A-Za-z0-9._-]{1,64}))&sig=([A-Za-z0-9_-]{43})")
_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)
SIGNERS_KEPT_MAX = 10_000


class SignedLinks:
    """Made once from the settings; without keys no link is good and none can be made."""

    def __init__(self, settings: LinksSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._keys = {key.id: key.secret.get_secret_value() for key in settings.keys}
        self._lasts_max = settings.expires_seconds_max + settings.expires_step_seconds
        self._signers: dict[tuple[str, str], LinkSigner] = {}

    def good_until(self, tenant: str, raw_path: str, query: str) -> int | None:
        """When this link of the tenant expires, in Unix seconds; None unless it is good now.

        `raw_path` and `query` are as they came: percent-encoded.
        """
        match = _QUERY.fullmatch(query)
        if match is None:
            return None
        path = _as_it_reads(raw_path)
        signer = self._signer(match[3], tenant)
        if path is None or signer is None:
            return None
        if not hmac.compare_digest(signer.signature(f"{path}?{match[1]}"), match[4]):
            return None
        expires = int(match[2])
        now = self._clock.now().timestamp()
        return expires if now < expires <= now + self._lasts_max else None

    def make(self, tenant: str, path: str, expires_seconds: int | None) -> tuple[str, int]:
        """A link to `path` (of `media_path`) and when it expires.

        Raises LinksNotConfigured, BadRequest for a time that is too long or no time.
        """
        settings = self._settings
        seconds = settings.expires_seconds if expires_seconds is None else expires_seconds
        if not 1 <= seconds <= settings.expires_seconds_max:
            raise BadRequest(f"expires_seconds is from 1 to {settings.expires_seconds_max}")
        key_id = next(iter(self._keys), None)
        if key_id is None:
            raise LinksNotConfigured
        expires = round_up_expiry(
            self._clock.now().timestamp() + seconds, step_seconds=settings.expires_step_seconds
        )
        secret = tenant_link_secret(self._keys[key_id], tenant)
        return sign_link(path, expires=expires, key_id=key_id, secret=secret), expires

    def _signer(self, key_id: str, tenant: str) -> LinkSigner | None:
        signer = self._signers.get((key_id, tenant))
        if signer is None and key_id in self._keys:
            if len(self._signers) >= SIGNERS_KEPT_MAX:
                self._signers.clear()
            signer = LinkSigner(tenant_link_secret(self._keys[key_id], tenant).encode())
            self._signers[key_id, tenant] = signer
        return signer


def _as_it_reads(raw_path: str) -> str | None:
    """The decoded path; None where that could be taken for another one."""
    if "%" not in raw_path:
        return raw_path
    if _ENCODED_SLASH.search(raw_path):
        return None
    try:
        return unquote(raw_path, errors="strict")
    except UnicodeDecodeError:
        return None
