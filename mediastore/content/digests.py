"""Digests that clients declare: algorithms, and the header fields that carry them.

An algorithm has one name here, that of the IANA registry of RFC 9530 where it has one: `md5`,
`sha` (SHA-1), `sha-256`, `sha-512`, and beside them `crc32` and `blake3`. Owns the parsing of tus
`Upload-Checksum` and of RFC 9530's four fields; front ends say what it means to their clients that
one is not valid.
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5, sha1, sha256, sha512
from typing import Any, Final, Protocol

import http_sf
from blake3 import blake3

from mediastore.content.checksum import crc32


class RunningDigest(Protocol):
    """What hashlib and blake3 give."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> "RunningDigest": ...


class Crc32:
    """CRC-32 as zlib and gzip have it; its digest is the number in big-endian order."""

    __slots__ = ("_value",)

    def __init__(self, value: int = 0) -> None:
        self._value = value

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._value = crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")

    def copy(self) -> "Crc32":
        return Crc32(self._value)


@dataclass(frozen=True, slots=True)
class _Algorithm:
    size_bytes: int
    new: Any  # a class or function that makes a RunningDigest


_ALGORITHMS: Final[Mapping[str, _Algorithm]] = {
    "md5": _Algorithm(16, lambda: md5(usedforsecurity=False)),
    "sha": _Algorithm(20, lambda: sha1(usedforsecurity=False)),
    "sha-256": _Algorithm(32, sha256),
    "sha-512": _Algorithm(64, sha512),
    "crc32": _Algorithm(4, Crc32),
    "blake3": _Algorithm(32, blake3),
}
TUS_ALGORITHMS: Final[Mapping[str, str]] = {
    "sha1": "sha",
    "sha256": "sha-256",
    "sha512": "sha-512",
    "md5": "md5",
    "crc32": "crc32",
    "blake3": "blake3",
}
"""tus's names, in the order in which OPTIONS lists them, and ours."""
HTTP_ALGORITHMS: Final = ("sha-512", "sha-256", "sha", "md5")
"""Those of ours that RFC 9530's registry has, strongest first."""
_WEIGHT_MAX = 10


class MalformedDigest(ValueError):
    """A digest field that is not written as it must be."""


def new_digest(algorithm: str) -> RunningDigest:
    """A running digest from byte 0."""
    made: RunningDigest = _ALGORITHMS[algorithm].new()
    return made


class Digester:
    """Several running digests over the same bytes; for one task or thread at a time."""

    __slots__ = ("_running",)

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._running = {algorithm: new_digest(algorithm) for algorithm in sorted(algorithms)}

    def update(self, data: bytes | bytearray | memoryview) -> None:
        for running in self._running.values():
            running.update(data)

    def digests(self) -> dict[str, bytes]:
        """Of all bytes so far, by algorithm; digesting can go on."""
        return {algorithm: running.digest() for algorithm, running in self._running.items()}

    def copy(self) -> "Digester":
        """An independent one in the same place."""
        twin = Digester(())
        twin._running = {algorithm: running.copy() for algorithm, running in self._running.items()}
        return twin


def checked_digest(algorithm: str, value: bytes) -> bytes:
    """`value`, if it can be a digest by `algorithm`. Raises MalformedDigest."""
    size_bytes = _ALGORITHMS[algorithm].size_bytes
    if len(value) != size_bytes:
        raise MalformedDigest(f"a {algorithm} digest has {size_bytes} bytes, not {len(value)}")
    return value


def parse_upload_checksum(header: str) -> dict[str, bytes]:
    """tus `Upload-Checksum`: `ALGORITHM BASE64`, as the one digest by our name.

    Raises MalformedDigest, for an algorithm that is not known as well.
    """
    name, _, encoded = header.partition(" ")
    algorithm = TUS_ALGORITHMS.get(name)
    if algorithm is None:
        raise MalformedDigest(f"the algorithm is not one of {', '.join(TUS_ALGORITHMS)}")
    try:
        value = b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise MalformedDigest("the checksum is not base64") from None
    return {algorithm: checked_digest(algorithm, value)}


def parse_digests(lines: Sequence[str]) -> dict[str, bytes]:
    """RFC 9530 `Content-Digest` or `Repr-Digest`, all its field lines: the digests by algorithms
    known here; others are ignored, as the RFC asks.

    Raises MalformedDigest for what is not a dictionary of byte sequences, and for a known algorithm
    with a value of the wrong length: ignored, as RFC 9651 would have it as well, it would never be
    checked.
    """
    found = {}
    for key, value in _dictionary(lines).items():
        if not isinstance(value, bytes):
            raise MalformedDigest(f"{key} is not a byte sequence (:base64:)")
        if key in HTTP_ALGORITHMS:
            found[key] = checked_digest(key, value)
    return found


def parse_wanted_digests(lines: Sequence[str]) -> list[str]:
    """RFC 9530 `Want-Content-Digest` or `Want-Repr-Digest`: known algorithms, most wanted first.

    Raises MalformedDigest for what is not a dictionary of whole numbers from 0 (not wanted) to 10.
    """
    weights = {}
    for key, value in _dictionary(lines).items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _WEIGHT_MAX:
            raise MalformedDigest(f"{key} is not a number from 0 to {_WEIGHT_MAX}")
        weights[key] = value
    wanted = [algorithm for algorithm in HTTP_ALGORITHMS if weights.get(algorithm, 0) > 0]
    return sorted(wanted, key=lambda algorithm: -weights[algorithm])


def format_digests(digests: Mapping[str, bytes]) -> str:
    """The value of a `Content-Digest` or `Repr-Digest` field. Raises ValueError for none."""
    return http_sf.ser(dict(digests))


def _dictionary(lines: Sequence[str]) -> dict[str, object]:
    """A structured-field dictionary (RFC 9651) without its parameters; several lines are one."""
    try:
        parsed = http_sf.parse(", ".join(lines).encode("ascii"), tltype="dictionary")
    except ValueError as error:
        raise MalformedDigest(f"not a dictionary of RFC 9651: {error}") from None
    if not isinstance(parsed, dict):
        raise TypeError("a dictionary was asked for")
    return {key: value[0] if isinstance(value, tuple) else value for key, value in parsed.items()}
