"""Digests and the fields that carry them: published values, strict parsing, never a crash."""

import hashlib
from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mediastore.content.digests import (
    HTTP_ALGORITHMS,
    TUS_ALGORITHMS,
    Digester,
    MalformedDigest,
    format_digests,
    parse_digests,
    parse_upload_checksum,
    parse_wanted_digests,
)
from mediastore.content.hashing import BlobHasher

# Of "123456789", as the algorithms' specifications and catalogues of check values print them.
PUBLISHED = {
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha-256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "sha-512": "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a"
    "d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
    "crc32": "cbf43926",
    "blake3": "b7d65b48420d1033cb2595293263b6f72eabee20d55e699d0df1973b3c9deed1",
}
EVERY = sorted(PUBLISHED)
# RFC 9530, appendix B: of `{"hello": "world"}` with a line feed behind it.
HELLO = b'{"hello": "world"}\n'
HELLO_SHA_256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


def encoded(digest: bytes) -> str:
    return b64encode(digest).decode()


def test_every_algorithm_gives_its_published_value() -> None:
    assert set(TUS_ALGORITHMS.values()) == set(EVERY)
    digester = Digester(EVERY)
    digester.update(b"123456789")
    assert {name: digest.hex() for name, digest in digester.digests().items()} == PUBLISHED


@given(st.lists(st.binary(max_size=500), max_size=6))
def test_several_digests_run_on_over_pieces_and_copies_go_their_own_way(
    pieces: list[bytes],
) -> None:
    running, whole = Digester(EVERY), Digester(EVERY)
    for piece in pieces:
        tried = running.copy()
        tried.update(b"given up")
        running.update(piece)
    whole.update(b"".join(pieces))
    assert running.digests() == whole.digests()


def test_a_blobs_hasher_gives_the_declared_digests_too() -> None:
    hasher = BlobHasher({"sha-256": b""})
    hasher.update(b"1234")
    copied = hasher.copy()
    for same in (hasher, copied):
        same.update(b"56789")
        assert same.digests() == {"sha-256": bytes.fromhex(PUBLISHED["sha-256"])}
        assert same.digest().hex() == PUBLISHED["blake3"]
    assert BlobHasher().digests() == {}


@pytest.mark.parametrize(("tus", "ours"), TUS_ALGORITHMS.items())
def test_an_upload_checksum_of_each_algorithm(tus: str, ours: str) -> None:
    digest = bytes.fromhex(PUBLISHED[ours])
    assert parse_upload_checksum(f"{tus} {encoded(digest)}") == {ours: digest}


def test_the_example_of_tus() -> None:
    sha = hashlib.sha1(b"hello world").digest()
    assert parse_upload_checksum("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=") == {"sha": sha}


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "sha1",
        "sha1 ",
        "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha-1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha1  Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0",
        "sha1 Kq5sNclPz7QV2-lfQIuc6R7oRu0=",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0= ",
        "sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha1 ü",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=,md5 AAAA",
    ],
)
def test_refused_upload_checksums(wrong: str) -> None:
    with pytest.raises(MalformedDigest):
        parse_upload_checksum(wrong)


@given(st.text() | st.from_regex(r"(sha1|md5|crc32) [A-Za-z0-9+/=]{0,40}"))
def test_any_checksum_is_taken_or_refused_never_a_crash(text: str) -> None:
    with suppress(MalformedDigest):
        [(algorithm, digest)] = parse_upload_checksum(text).items()
        assert len(digest) == len(bytes.fromhex(PUBLISHED[algorithm]))


def test_the_example_of_rfc_9530() -> None:
    digest = hashlib.sha256(HELLO).digest()
    assert parse_digests([HELLO_SHA_256]) == {"sha-256": digest}
    assert format_digests({"sha-256": digest}) == HELLO_SHA_256


def test_digests_of_unknown_algorithms_are_ignored_also_those_of_tus_alone() -> None:
    lines = ["unixsum=:Gg==:, blake3=:AAAA:", f"{HELLO_SHA_256};note=1, crc32=:AAAAAA==:"]
    assert parse_digests(lines) == {"sha-256": hashlib.sha256(HELLO).digest()}
    assert parse_digests([""]) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        "sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8Fab:",
        "sha-256=:RK/0:",
        "sha-256=:RK_0:",
        "sha-256",
        "sha-256=1",
        "unknown=1",
        "SHA-256=:RK/0:",
        "sha-256=:RK/0:,",
        "ü",
    ],
)
def test_refused_digests(wrong: str) -> None:
    with pytest.raises(MalformedDigest):
        parse_digests([wrong])


@given(st.dictionaries(st.sampled_from(HTTP_ALGORITHMS), st.just(b""), min_size=1))
def test_digests_round_trip(named: dict[str, bytes]) -> None:
    digester = Digester(named)
    assert parse_digests([format_digests(digester.digests())]) == digester.digests()


@given(st.text())
@example("a=" + "(" * 2000)
def test_any_field_is_taken_or_refused_never_a_crash(text: str) -> None:
    with suppress(MalformedDigest):
        parse_digests([text])
    with suppress(MalformedDigest):
        parse_wanted_digests([text])


def test_wanted_digests_come_most_wanted_first_then_strongest() -> None:
    lines = ["sha-256=3, sha-512=3, md5=10", "sha=0, blake3=10;a=1"]
    assert parse_wanted_digests(lines) == ["md5", "sha-512", "sha-256"]
    assert parse_wanted_digests([""]) == []


@pytest.mark.parametrize(
    "wrong", ["sha-256", "sha-256=11", "sha-256=-1", "sha-256=1.0", "a=:AA==:"]
)
def test_refused_wishes(wrong: str) -> None:
    with pytest.raises(MalformedDigest):
        parse_wanted_digests([wrong])
