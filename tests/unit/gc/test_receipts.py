"""A receipt is worth what its signature is: changed in any place, it is refused."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from mediastore_gc.receipts import (
    SigningKey,
    canonical,
    checked_statement,
    load_public_key,
    load_signing_key,
)

from mediastore.collector_errors import BadReceipt
from mediastore.errors import BadSettings

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
STATEMENTS = st.dictionaries(st.sampled_from(["a", "b", "owner", "keys"]), VALUES)


def receipt_of(statement: dict[str, Any]) -> bytes:
    return json.dumps(KEY.sign(statement), indent=2).encode()


@given(STATEMENTS)
def test_what_was_signed_is_what_is_read(statement: dict[str, Any]) -> None:
    assert checked_statement(receipt_of(statement), KEY.public) == statement


@given(STATEMENTS, STATEMENTS)
def test_another_statement_is_refused(signed: dict[str, Any], said: dict[str, Any]) -> None:
    receipt = {**KEY.sign(signed), "statement": said}
    if canonical(signed) == canonical(said):
        return
    with pytest.raises(BadReceipt):
        checked_statement(json.dumps(receipt).encode(), KEY.public)


def test_another_key_is_refused() -> None:
    other = SigningKey(Ed25519PrivateKey.generate())
    with pytest.raises(BadReceipt, match="another key"):
        checked_statement(receipt_of({"a": 1}), other.public)


@pytest.mark.parametrize(
    "receipt",
    [
        b"",
        b"{}",
        b"[]",
        b'"x"',
        b"\xff",
        json.dumps({**KEY.sign({"a": 1}), "algorithm": "none"}).encode(),
        json.dumps({**KEY.sign({"a": 1}), "signature": "!"}).encode(),
        json.dumps({**KEY.sign({"a": 1}), "signature": ""}).encode(),
        json.dumps({**KEY.sign({"a": 1}), "signature": None}).encode(),
        json.dumps({**KEY.sign({"a": 1}), "statement": [1]}).encode(),
    ],
)
def test_what_is_no_receipt_is_refused(receipt: bytes) -> None:
    with pytest.raises(BadReceipt):
        checked_statement(receipt, KEY.public)


def test_statements_are_written_as_rfc_8785_says() -> None:
    said = {"b": '€"\\\n\u000f/', "a": [1, True, None, {"z": 1, "y": "ö"}]}
    expected = '{"a":[1,true,null,{"y":"ö","z":1}],"b":"€\\"\\\\\\n\\u000f/"}'
    assert canonical(said) == expected.encode()


def test_keys_are_read_from_pem_files(tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(
        KEY.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    public.write_bytes(KEY.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert load_signing_key(private).sign({"a": 1}) == KEY.sign({"a": 1})
    assert load_public_key(public) == KEY.public
    other = generate_private_key(SECP256R1())
    private.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    for load in (load_signing_key, load_public_key):
        with pytest.raises(BadSettings, match="not an Ed25519 key"):
            load(private if load is load_signing_key else public)
    private.write_text("nonsense")
    for load in (load_signing_key, load_public_key):
        for file in (private, tmp_path / "missing.pem"):
            with pytest.raises(BadSettings):
                load(file)
    with pytest.raises(BadSettings, match="openssl genpkey"):
        load_signing_key(None)


@pytest.mark.full
def test_jq_and_openssl_alone_can_check_one(tmp_path: Path) -> None:
    """As docs/erasure.md says: nobody needs this code, nor our word."""
    page = (Path(__file__).parents[3] / "docs" / "erasure.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith(("jq ", "openssl pkeyutl"))]
    assert len(lines) == 3
    (tmp_path / "erasure.pub.pem").write_bytes(
        KEY.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    receipt = KEY.sign({"owner": "ö€", "keys": 3, "why": 'a "case"\n\u000f', "items": [{"b": 1}]})
    for keys, right in ((3, True), (4, False)):
        receipt["statement"] = {**receipt["statement"], "keys": keys}
        (tmp_path / "receipt.json").write_text(json.dumps(receipt))
        checked = subprocess.run(
            ["sh", "-ec", "\n".join(lines)], cwd=tmp_path, capture_output=True, check=False
        )
        assert (checked.returncode == 0) == right, checked.stderr
