"""What clients say of an upload: valid, or refused by name; nothing is guessed."""

from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from mediastore.errors import BadMetadata, BadRequest, MediastoreError
from mediastore.uploads.metadata import checked_idempotency_key, from_query, from_tus

LIMIT = 8192


def header(**pairs: str) -> str:
    return ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())


def test_tus_fields_and_metadata() -> None:
    says = from_tus(
        header(filename="a.jpg", filetype="image/jpeg", owner="u", blake3="ab" * 32, place="x")
        + ",is_private",
        metadata_max_bytes=LIMIT,
    )
    assert (says.name, says.content_type, says.owner) == ("a.jpg", "image/jpeg", "u")
    assert says.declared_hash == bytes.fromhex("ab" * 32)
    assert says.metadata == {"place": "x", "is_private": ""}


def test_nothing_said() -> None:
    says = from_tus(None, metadata_max_bytes=LIMIT)
    assert (says.name, says.content_type, says.metadata) == ("", "application/octet-stream", {})


@pytest.mark.parametrize(
    "wrong",
    [
        "a YQ==,,b YQ==",
        "a YQ==,a YQ==",
        "ä YQ==",
        "a Y Q==",
        "a YQ",
        "a \x80",
        "a /w==",
        "filetype YQ==",
        "blake3 YQ==",
        header(filename="a\x00b"),
        header(x="y" * 9000),
    ],
)
def test_refused_tus_metadata(wrong: str) -> None:
    with pytest.raises(BadRequest):
        from_tus(wrong, metadata_max_bytes=LIMIT)


def test_query() -> None:
    query = MultiDict({"name": "a", "owner": "o", "metadata": '{"k": [1]}'})
    says = from_query(query, "text/plain; charset=utf-8", metadata_max_bytes=LIMIT)
    assert (says.name, says.owner, says.metadata) == ("a", "o", {"k": [1]})
    assert says.content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize("query", [{"nmae": "a"}, {"metadata": "{"}, {"metadata": "[]"}])
def test_refused_queries(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        from_query(MultiDict(query), None, metadata_max_bytes=LIMIT)


@pytest.mark.parametrize("wrong", ["text", "text/", "a/b\r\nX: y", "a/b; \x7f", "x/" + "y" * 300])
def test_refused_content_types(wrong: str) -> None:
    with pytest.raises(BadMetadata):
        from_query(MultiDict(), wrong, metadata_max_bytes=LIMIT)


@pytest.mark.parametrize("wrong", ["", "x" * 256, "ü", "a\n"])
def test_refused_idempotency_keys(wrong: str) -> None:
    with pytest.raises(BadRequest):
        checked_idempotency_key(wrong)


@given(st.text(max_size=200))
def test_any_header_is_taken_or_refused_never_a_crash(text: str) -> None:
    with suppress(MediastoreError):
        from_tus(text, metadata_max_bytes=LIMIT)
