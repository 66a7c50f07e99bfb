"""Signatures of messages to the app, as Standard Webhooks 1.0 defines them.

https://www.standardwebhooks.com: HMAC-SHA256 over `id.timestamp.body`, one signature for each of
the tenant's secrets, so that a receiver may change from one to the next.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime

SECRET_PREFIX = "whsec_"  # noqa: S105  (what such secrets begin with)


def signed_headers(
    secrets: Sequence[str], message_id: str, moment: datetime, body: bytes
) -> dict[str, str]:
    """The three headers of one attempt to send `body`."""
    timestamp = str(int(moment.timestamp()))
    content = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(secret, content) for secret in secrets),
    }


def _signature(secret: str, content: bytes) -> str:
    key = b64decode(secret.removeprefix(SECRET_PREFIX))
    return "v1," + b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
