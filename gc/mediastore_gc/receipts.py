"""Signed receipts of erasures: whoever has the public key can check one, and needs nobody's word.

A receipt is JSON: a `statement`, and its Ed25519 `signature` over the statement as RFC 8785 writes
it (members sorted, no spaces, UTF-8). Numbers are whole and members have ASCII names, so the
standard library's writer does just that. docs/decisions/0005-erasure-receipts.md has the reasons.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from mediastore.collector_errors import BadReceipt
from mediastore.errors import BadSettings

ALGORITHM = "Ed25519"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private key of the settings."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> Ed25519PublicKey:
        return self.private.public_key()

    def sign(self, statement: Mapping[str, Any]) -> dict[str, Any]:
        """The receipt of a statement. `public_key` in it only tells which key it was."""
        signature = self.private.sign(canonical(statement))
        return {
            "statement": statement,
            "algorithm": ALGORITHM,
            "public_key": _text(self.public.public_bytes(Encoding.Raw, PublicFormat.Raw)),
            "signature": _text(signature),
        }


def canonical(statement: Mapping[str, Any]) -> bytes:
    """The bytes that are signed (RFC 8785)."""
    written = json.dumps(
        statement, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
    return written.encode()


def load_signing_key(file: Path | None) -> SigningKey:
    """Raises BadSettings."""
    if file is None:
        raise BadSettings(
            "an erasure gives a signed receipt: make a key with 'openssl genpkey -algorithm "
            "ed25519 -out FILE' and name it in collection.erasure_key_file"
        )
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BadSettings(f"the key in collection.erasure_key_file cannot be read: {error}") from (
            error
        )
    if not isinstance(key, Ed25519PrivateKey):
        raise BadSettings("the key in collection.erasure_key_file is not an Ed25519 key")
    return SigningKey(key)


def load_public_key(file: Path) -> Ed25519PublicKey:
    """Raises BadSettings."""
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadSettings(f"the public key cannot be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadSettings("the public key is not an Ed25519 key")
    return key


def checked_statement(receipt: bytes, key: Ed25519PublicKey) -> dict[str, Any]:
    """What a receipt says, once its signature is right. Raises BadReceipt."""
    try:
        read = json.loads(receipt)
        statement = read["statement"]
        if read["algorithm"] != ALGORITHM or not isinstance(statement, dict):
            raise BadReceipt(f"that is no receipt signed with {ALGORITHM}")
        key.verify(base64.b64decode(read["signature"], validate=True), canonical(statement))
    except (ValueError, KeyError, TypeError) as error:
        raise BadReceipt(f"that is not a receipt: {error}") from error
    except InvalidSignature:
        raise BadReceipt(
            "the signature is not of this statement and this key: the receipt was changed, or "
            "another key has signed it"
        ) from None
    return statement


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
