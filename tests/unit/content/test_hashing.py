"""Names of chunks and blobs, against the published BLAKE3 and CRC-32 values."""

from hashlib import md5, sha256

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mediastore.content import hashing
from mediastore.content.digests import Digester
from mediastore.content.hashing import BlobHasher, format_hash, name_chunk, parse_hash

# From the BLAKE3 and CRC-32 specifications' test vectors.
BLAKE3_OF_NOTHING = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
CRC32_OF_DIGITS = 0xCBF43926


def test_a_chunk_is_named_by_its_blake3_with_size_and_crc32() -> None:
    name = name_chunk(b"123456789")
    assert name.hash == blake3(b"123456789").digest()
    assert name.size == 9
    assert name.crc32 == CRC32_OF_DIGITS


def test_nothing_has_the_published_hash() -> None:
    assert format_hash(BlobHasher().digest()) == BLAKE3_OF_NOTHING
    assert format_hash(name_chunk(b"").hash) == BLAKE3_OF_NOTHING


@given(st.lists(st.binary(max_size=5000), max_size=10))
def test_a_running_hash_is_that_of_all_bytes_so_far(pieces: list[bytes]) -> None:
    hasher = BlobHasher()
    for index, piece in enumerate(pieces):
        hasher.update(piece)
        so_far = b"".join(pieces[: index + 1])
        assert hasher.offset == len(so_far)
        assert hasher.digest() == blake3(so_far).digest()


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=5), st.integers(1, 3000))
def test_naming_chunks_takes_running_hashes_along(chunks: list[bytes], block_bytes: int) -> None:
    """In one pass over blocks of any size, the first chunk of a blob as well as later ones."""
    blob, body = BlobHasher(["sha-256"]), Digester(["md5"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "HASH_BLOCK_BYTES", block_bytes)
        named = [name_chunk(chunk, blob, body) for chunk in chunks]
    whole = b"".join(chunks)
    assert named == [name_chunk(chunk) for chunk in chunks]
    assert (blob.offset, blob.digest()) == (len(whole), blake3(whole).digest())
    assert blob.digests() == {"sha-256": sha256(whole).digest()}
    assert body.digests() == {"md5": md5(whole).digest()}


def test_the_first_chunk_of_a_blob_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file is one chunk, and its blob has the same name."""
    blob = BlobHasher()
    monkeypatch.setattr(hashing, "blake3", None)  # no second hasher is made
    assert name_chunk(b"small", blob).hash == blob.digest() == blake3(b"small").digest()


def test_a_copy_goes_its_own_way() -> None:
    hasher = BlobHasher()
    hasher.update(b"kept")
    tried = hasher.copy()
    tried.update(b" and given up")
    assert (hasher.offset, tried.offset) == (4, 17)
    assert hasher.digest() == blake3(b"kept").digest()
    assert tried.digest() == blake3(b"kept and given up").digest()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_hashed(kind: type) -> None:
    hasher = BlobHasher()
    hasher.update(kind(b"some bytes"))
    assert (hasher.offset, hasher.digest()) == (10, blake3(b"some bytes").digest())


@given(st.binary(min_size=32, max_size=32))
def test_the_text_of_a_hash_round_trips(hash_: bytes) -> None:
    assert parse_hash(format_hash(hash_)) == hash_


@pytest.mark.parametrize(
    "text",
    [
        "",
        BLAKE3_OF_NOTHING[:-1],
        BLAKE3_OF_NOTHING + "0",
        BLAKE3_OF_NOTHING.upper(),
        " " + BLAKE3_OF_NOTHING[1:],
        BLAKE3_OF_NOTHING + "\n",
        "g" + BLAKE3_OF_NOTHING[1:],
        "٣" * 64,
    ],
)
def test_other_spellings_of_a_hash_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="64 lowercase"):
        parse_hash(text)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_hash_of_another_length_has_no_text(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        format_hash(bytes(size))
